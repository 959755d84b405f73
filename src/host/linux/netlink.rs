//! One netlink socket: batches of requests, each with its own answer, and dumps.
//!
//! Many requests travel in one datagram and the kernel answers each by its sequence number, so that 5,000
//! routes cost some forty system calls each way instead of twenty thousand.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
    NetlinkBuffer, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
    NlasIterator, Parseable as _,
};
use netlink_sys::{Socket, SocketAddr};
use zeroize::Zeroizing;

/// Requests in one datagram: their answers, at some 800 bytes of socket memory each, fit the default buffer.
const BATCH_REQUESTS: usize = 128;
/// Bytes in one datagram, unless one request alone is larger.
const BATCH_BYTES: usize = 32 * 1024;
/// The largest datagram of a dump is 32 KiB (`netlink_recvmsg` in the kernel caps it there).
const RECEIVE_BYTES: usize = 64 * 1024;
/// How often a dump that the kernel calls inconsistent is asked for again.
const DUMP_ATTEMPTS: usize = 10;
/// `NLMSGERR_ATTR_MSG`: the kernel's own words about an error.
const ERROR_TEXT: u16 = 1;

/// Why the kernel refused a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The errno, positive.
    pub errno: i32,
    /// The kernel's own words, where it has some.
    pub text: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let error = nix::errno::Errno::from_raw(self.errno);
        write!(f, "{}", error.desc())?;
        if !self.text.is_empty() {
            write!(f, " ({})", self.text)?;
        }
        Ok(())
    }
}

/// What becomes of one exchange.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetlinkError {
    /// The socket itself failed.
    #[error("netlink: {0}")]
    Socket(#[from] io::Error),
    /// The kernel refused the request.
    #[error("{0}")]
    Refused(Refusal),
    /// The kernel's answer makes no sense.
    #[error("netlink: unreadable answer: {0}")]
    Unreadable(String),
    /// The tables changed during every attempt to read them.
    #[error("netlink: what was read kept changing")]
    Interrupted,
}

/// A message with the flags it is sent with, `NLM_F_REQUEST` and `NLM_F_ACK` aside.
pub(crate) type Request<I> = (I, u16);

/// A netlink socket of one protocol, in the network namespace of the thread that opened it.
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
    received: Vec<u8>,
}

/// One message of an answer, header decoded.
struct Answer<'a> {
    header: NetlinkHeader,
    payload: &'a [u8],
}

impl Netlink {
    /// Opens a socket: `NETLINK_ROUTE` or `NETLINK_GENERIC`.
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // A refusal would otherwise carry the request back, keys included.
        socket.set_cap_ack(true)?;
        // Old kernels have no words to give.
        let _ = socket.set_ext_ack(true);
        Ok(Self { socket, sequence: 0, received: vec![0; RECEIVE_BYTES] })
    }

    /// Sends every request and returns the answer to each, in their order. The kernel goes on past a refusal.
    pub(crate) fn batch<I>(
        &mut self,
        requests: Vec<Request<I>>,
    ) -> Result<Vec<Result<(), Refusal>>, NetlinkError>
    where
        I: NetlinkSerializable,
        NetlinkPayload<I>: From<I>,
    {
        let mut answers = Vec::with_capacity(requests.len());
        let mut datagram = Zeroizing::new(Vec::with_capacity(BATCH_BYTES));
        let mut count = 0;
        for (message, flags) in requests {
            let encoded = self.encode(message, flags | NLM_F_REQUEST | NLM_F_ACK);
            if count == BATCH_REQUESTS || (count > 0 && datagram.len() + encoded.len() > BATCH_BYTES) {
                self.flush(&mut datagram, &mut count, &mut answers)?;
            }
            datagram.extend_from_slice(&encoded);
            count += 1;
        }
        self.flush(&mut datagram, &mut count, &mut answers)?;
        Ok(answers)
    }

    /// Sends one request and returns what comes back before the acknowledgement.
    pub(crate) fn request<I>(&mut self, message: I, flags: u16) -> Result<Vec<I>, NetlinkError>
    where
        I: NetlinkSerializable + NetlinkDeserializable,
        NetlinkPayload<I>: From<I>,
    {
        let encoded = self.encode(message, flags | NLM_F_REQUEST | NLM_F_ACK);
        self.socket.send(&encoded, 0)?;
        let mut replies = Vec::new();
        self.collect(|reply| replies.push(reply))?;
        Ok(replies)
    }

    /// Dumps a table, again where it changed meanwhile. A message that cannot be read is left out.
    pub(crate) fn dump<I>(&mut self, message: &I) -> Result<Vec<I>, NetlinkError>
    where
        I: NetlinkSerializable + NetlinkDeserializable + Clone,
        NetlinkPayload<I>: From<I>,
    {
        self.dump_into(message, Vec::push)
    }

    /// The same for a large table: each message is put where it belongs as it comes.
    pub(crate) fn dump_into<I, T>(
        &mut self,
        message: &I,
        mut put: impl FnMut(&mut T, I),
    ) -> Result<T, NetlinkError>
    where
        I: NetlinkSerializable + NetlinkDeserializable + Clone,
        NetlinkPayload<I>: From<I>,
        T: Default,
    {
        for _ in 0..DUMP_ATTEMPTS {
            let encoded = self.encode(message.clone(), NLM_F_REQUEST | NLM_F_DUMP);
            self.socket.send(&encoded, 0)?;
            let mut all = T::default();
            let interrupted = self.collect(|reply| put(&mut all, reply))?;
            if !interrupted {
                return Ok(all);
            }
        }
        Err(NetlinkError::Interrupted)
    }

    /// Encodes a message with the next sequence number, padded to the alignment that follows it in a datagram.
    fn encode<I>(&mut self, message: I, flags: u16) -> Zeroizing<Vec<u8>>
    where
        I: NetlinkSerializable,
        NetlinkPayload<I>: From<I>,
    {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(message);
        message.header.flags = flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut encoded = Zeroizing::new(vec![0; message.buffer_len().next_multiple_of(4)]);
        message.serialize(&mut encoded);
        encoded
    }

    /// Sends a datagram of `count` requests, the last with the current sequence number, and reads the answers.
    fn flush(
        &mut self,
        datagram: &mut Zeroizing<Vec<u8>>,
        count: &mut usize,
        answers: &mut Vec<Result<(), Refusal>>,
    ) -> Result<(), NetlinkError> {
        if *count == 0 {
            return Ok(());
        }
        // The request encoded after the datagram was full has taken a number already.
        let first = NetlinkBuffer::new(datagram.as_slice()).sequence_number();
        self.socket.send(datagram, 0)?;
        let mut results: Vec<Option<Result<(), Refusal>>> = vec![None; *count];
        while results.iter().any(Option::is_none) {
            self.receive(|answer| {
                let index = answer.header.sequence_number.wrapping_sub(first) as usize;
                if answer.header.message_type == NLMSG_ERROR
                    && let Some(slot) = results.get_mut(index)
                {
                    *slot = Some(refusal(&answer)?.map_or(Ok(()), Err));
                }
                Ok(())
            })?;
        }
        answers.extend(results.into_iter().flatten());
        datagram.clear();
        *count = 0;
        Ok(())
    }

    /// Hands over the answers to the current request up to its end, and says whether a dump was interrupted.
    fn collect<I: NetlinkDeserializable>(&mut self, mut put: impl FnMut(I)) -> Result<bool, NetlinkError> {
        let (mut interrupted, mut done) = (false, false);
        let mut refused = None;
        let sequence = self.sequence;
        while !done {
            self.receive(|answer| {
                // Left from an exchange that was given up.
                if answer.header.sequence_number != sequence {
                    return Ok(());
                }
                interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
                match answer.header.message_type {
                    NLMSG_ERROR => {
                        refused = refusal(&answer)?;
                        done = true;
                    }
                    NLMSG_DONE => {
                        let code = answer.payload.first_chunk().map_or(0, |b| i32::from_ne_bytes(*b));
                        if code < 0 {
                            refused = Some(Refusal { errno: -code, text: String::new() });
                        }
                        done = true;
                    }
                    _ => match I::deserialize(&answer.header, answer.payload) {
                        Ok(reply) => put(reply),
                        Err(error) => tracing::debug!("netlink: a message was left out: {error}"),
                    },
                }
                Ok(())
            })?;
        }
        refused.map_or(Ok(interrupted), |r| Err(NetlinkError::Refused(r)))
    }

    /// Reads one datagram and hands over its messages.
    fn receive(
        &mut self,
        mut each: impl FnMut(Answer<'_>) -> Result<(), NetlinkError>,
    ) -> Result<(), NetlinkError> {
        let length = loop {
            match self.socket.recv(&mut self.received.as_mut_slice(), libc::MSG_TRUNC) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        let mut rest = self
            .received
            .get(..length)
            .ok_or_else(|| NetlinkError::Unreadable(format!("a datagram of {length} bytes")))?;
        while !rest.is_empty() {
            let unreadable = |e: netlink_packet_core::DecodeError| NetlinkError::Unreadable(e.to_string());
            let buffer = NetlinkBuffer::new_checked(&rest).map_err(unreadable)?;
            let header = NetlinkHeader::parse(&buffer).map_err(unreadable)?;
            let length = header.length as usize;
            each(Answer { header, payload: &rest[header_length()..length] })?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(())
    }
}

const fn header_length() -> usize {
    size_of::<libc::nlmsghdr>()
}

/// Reads an acknowledgement (`None`) or a refusal.
fn refusal(answer: &Answer<'_>) -> Result<Option<Refusal>, NetlinkError> {
    let code = answer.payload.first_chunk().map(|b| i32::from_ne_bytes(*b));
    let code = code.ok_or_else(|| NetlinkError::Unreadable("an acknowledgement without a code".into()))?;
    if code == 0 {
        return Ok(None);
    }
    let mut text = String::new();
    if answer.header.flags & NLM_F_ACK_TLVS != 0 {
        // The code, the request's header (the rest of it is capped), then attributes.
        let attributes = answer.payload.get(4 + header_length()..).unwrap_or_default();
        for attribute in NlasIterator::new(attributes).flatten().filter(|a| a.kind() == ERROR_TEXT) {
            text = String::from_utf8_lossy(attribute.value()).trim_end_matches('\0').to_string();
        }
    }
    Ok(Some(Refusal { errno: code.saturating_neg(), text }))
}
