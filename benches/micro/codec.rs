//! Bytes to requests and transactions, and back.

use bytes::{BufMut, BytesMut};
use zk_pipeline::reply;
use zk_proto::client::{ReadRequest, RequestHeader, WriteRequest};
use zk_proto::txn::{LogEntry, TxnDigest};
use zk_proto::{ErrorCode, OpCode, Reader, Stat, Writer, Xid, Zxid};

use crate::{DATA, pipeline, tree};

fn frame(op: OpCode, body: impl FnOnce(&mut Writer<'_, Vec<u8>>)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut w = Writer::new(&mut out);
    RequestHeader { xid: Xid(7), op: op.to_i32() }.write(&mut w);
    body(&mut w);
    out
}

/// The frame of a getData, length not included.
pub fn get_data() -> Vec<u8> {
    frame(OpCode::GetData, |w| {
        w.str(&crate::path(0));
        w.bool(false);
    })
}

/// The frame of a setData.
pub fn set_data() -> Vec<u8> {
    frame(OpCode::SetData, |w| pipeline::set_data(0).encode(w))
}

/// The frame of a multi of so many setData.
pub fn multi(parts: usize) -> Vec<u8> {
    frame(OpCode::Multi, |w| pipeline::multi(0, parts).encode(w))
}

fn header(r: &mut Reader<'_>) -> OpCode {
    let header = RequestHeader::read(r).expect("the frame begins with a header");
    OpCode::from_i32(header.op).expect("the opcode is one of ours")
}

/// Header and body of a read.
pub fn decode_read(frame: &[u8]) -> ReadRequest<'_> {
    let mut r = Reader::new(frame);
    let op = header(&mut r);
    ReadRequest::decode(op, &mut r).expect("the frame was made by this module")
}

/// Header and body of a write.
pub fn decode_write(frame: &[u8]) -> WriteRequest {
    let mut r = Reader::new(frame);
    let op = header(&mut r);
    WriteRequest::decode(op, &mut r).expect("the frame was made by this module")
}

/// Appends the reply to a getData of 100 bytes.
pub fn encode_get_data_reply(stat: &Stat, out: &mut BytesMut) {
    reply::frame(out, Xid(7), Zxid(9), ErrorCode::Ok, |w| {
        w.buffer(Some(&DATA));
        stat.write(w);
    });
}

/// A setData as it is logged.
pub fn log_entry() -> LogEntry {
    let digest = Some(TxnDigest { version: TxnDigest::VERSION, tree: 0x1234_5678_9abc });
    LogEntry { digest, ..tree::set_data(crate::path(0)) }
}

/// Appends a record of the log.
pub fn encode_entry(entry: &LogEntry, out: &mut impl BufMut) {
    entry.encode(out);
}

/// Reads a record of the log.
pub fn decode_entry(bytes: &[u8]) -> LogEntry {
    LogEntry::decode(bytes).expect("the record was made by this module")
}
