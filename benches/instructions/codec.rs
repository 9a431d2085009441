//! The modules of the product that make the path, under their own names.

#[path = "../../src/codec/mod.rs"]
pub mod codec;
#[path = "../../src/model/mod.rs"]
pub mod model;

#[path = "../../src/aws"]
pub mod aws {
    #[path = "kinesis"]
    pub mod kinesis {
        pub use reply::timestamp;

        #[path = "reply"]
        pub mod reply {
            use aws_smithy_types::DateTime;

            use crate::model::timestamp::Timestamp;

            mod buffer;
            pub mod decode;

            /// As the adapter has it; the decoder needs it for times that AWS does not write.
            pub fn timestamp(time: &DateTime) -> Timestamp {
                let millis = (time.as_nanos() + 500_000).div_euclid(1_000_000);
                i64::try_from(millis).map_or(Timestamp::EPOCH, Timestamp::from_millis)
            }
        }
    }
}
