//! The numbers, and who gets them: CloudWatch, statsd, HTTP.
