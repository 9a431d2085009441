//! The configuration file: one TOML file, one stream; validated once.
