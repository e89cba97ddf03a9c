//! The words of the protocol: ids, records, opcodes, error codes, packets
