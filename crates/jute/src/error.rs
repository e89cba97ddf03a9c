/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The input ends before the field does.
    #[error("input ends {missing} bytes early")]
    Short {
        /// Bytes that are missing at least.
        missing: usize,
    },
    /// A length that is negative (other than null) or beyond the limit.
    /// ref: BinaryInputArchive, "Unreasonable length".
    #[error("unreasonable length {0}")]
    Length(i32),
    /// A null where the record needs a value.
    #[error("null where a value is needed")]
    Null,
    /// A null list where the record needs one. Java stumbles over it earlier
    /// than over other nulls, and that shows: see `WriteRequest::decode`.
    #[error("null where a list is needed")]
    NullList,
    /// A number that none of the record's variants has.
    #[error("unknown variant {0}")]
    Variant(i32),
}
