//! The system calls that have no safe wrapper: TUN ioctls, and batches of datagrams with control data.
//!
//! All `unsafe` of the data plane is here. Each function takes and returns plain values; whatever a pointer given
//! to the kernel refers to is owned or borrowed by the caller of that function until the call has returned.

#![expect(unsafe_code, reason = "TUNSETIFF, SIOCSIFMTU, SIOCSIFFLAGS, sendmmsg and recvmmsg take pointers")]

use std::io::{self, IoSlice};
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use bytes::BytesMut;

use crate::model::InterfaceName;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Returns how many messages a call has carried. The two calls go by number: musl's `sendmmsg` is a `sendmsg` for each
/// message. Its headers are the kernel's all the same: where its lengths are shorter, the rest is padding, zero here.
fn counted(result: libc::c_long) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn request(name: &str) -> libc::ifreq {
    // SAFETY: `ifreq` is plain data for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from as libc::c_char;
    }
    request
}

/// Makes this open `/dev/net/tun` the interface `name`. The interface must not exist (EBUSY).
pub(super) fn tun_create(tun: BorrowedFd<'_>, name: &InterfaceName) -> io::Result<()> {
    /// The interface is new, or the call fails; not in the libc crate.
    const IFF_TUN_EXCL: libc::c_int = 0x8000;
    let mut request = request(name.as_str());
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | IFF_TUN_EXCL;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which lives until the call returns.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &raw mut request) }).map(drop)
}

/// Tells the kernel which kinds of unfinished packets we take (`TUN_F_*`).
pub(super) fn tun_set_offload(tun: BorrowedFd<'_>, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes a number, no pointer.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(flags)) }).map(drop)
}

/// Reads the MTU of the interface `name` in the socket's network namespace, in bytes.
pub(super) fn mtu(socket: BorrowedFd<'_>, name: &str) -> io::Result<u32> {
    let mut request = request(name);
    // SAFETY: SIOCGIFMTU reads and writes one `ifreq`, which lives until the call returns.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU as _, &raw mut request) })?;
    // SAFETY: after success the kernel has written this member of the union; any bits are a valid number.
    Ok(unsafe { request.ifr_ifru.ifru_mtu }.cast_unsigned())
}

/// Sets the MTU of the interface `name` in the socket's network namespace, in bytes.
pub(super) fn set_mtu(socket: BorrowedFd<'_>, name: &str, mtu: u16) -> io::Result<()> {
    let mut request = request(name);
    request.ifr_ifru.ifru_mtu = mtu.into();
    // SAFETY: SIOCSIFMTU reads one `ifreq`, which lives until the call returns.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFMTU as _, &raw mut request) }).map(drop)
}

/// Takes the multicast flag off the interface `name` in the socket's network namespace.
pub(super) fn without_multicast(socket: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let mut request = request(name);
    // SAFETY: SIOCGIFFLAGS reads and writes one `ifreq`, which lives until the call returns.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, &raw mut request) })?;
    // SAFETY: after success the kernel has written this member of the union; any bits are a valid number.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags & !(libc::IFF_MULTICAST as libc::c_short);
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which lives until the call returns.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw mut request) }).map(drop)
}

/// Opens a UDP socket of this family that neither blocks nor survives an exec.
pub(super) fn udp_socket(family: libc::c_int) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: socket() takes numbers only.
    let fd = check(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: the kernel has just handed out this descriptor and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets a socket option that is an `int`.
pub(super) fn set_option(socket: BorrowedFd<'_>, level: i32, option: i32, value: i32) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes at `value`, which is that long and lives until the call returns.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length) })
        .map(drop)
}

/// Reads a socket option that is an `int`.
pub(super) fn option(socket: BorrowedFd<'_>, level: i32, option: i32) -> io::Result<i32> {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes at `value`, which is that long, and the new length; both
    // live until the call returns.
    check(unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut value).cast(), &raw mut length)
    })?;
    Ok(value)
}

/// Binds a socket to an encoded address.
pub(super) fn bind(socket: BorrowedFd<'_>, address: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads exactly `len` bytes of the borrowed slice.
    check(unsafe {
        libc::bind(socket.as_raw_fd(), address.as_ptr().cast(), address.len() as libc::socklen_t)
    })
    .map(drop)
}

/// Reads the address a socket is bound to, encoded, and its length.
pub(super) fn bound_address(socket: BorrowedFd<'_>) -> io::Result<[u8; NAME]> {
    let mut name = [0u8; NAME];
    let mut length = NAME as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes at `name`, which is that long, and the new length.
    check(unsafe { libc::getsockname(socket.as_raw_fd(), name.as_mut_ptr().cast(), &raw mut length) })?;
    Ok(name)
}

/// Longest encoded socket address: `sockaddr_in6`.
pub(super) const NAME: usize = 28;
/// Room for the control data of one message: addresses, congestion mark, segment size.
pub(super) const CONTROL: usize = 128;

/// Control data, aligned as `cmsghdr` has to be.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Control(pub(super) [u8; CONTROL]);

/// One message to send: where to, with what control data, and which slices make it up.
pub(super) struct Outgoing {
    pub(super) name: [u8; NAME],
    pub(super) name_length: usize,
    pub(super) control: Control,
    pub(super) control_length: usize,
    /// The range of its parts within the list of slices.
    pub(super) first: usize,
    pub(super) count: usize,
}

/// Messages that go to the kernel in one call.
const SEND_BATCH: usize = 64;

/// Sends messages of `messages`, in order, and returns how many went: at least one, or the first one's error.
pub(super) fn send_batch(
    socket: BorrowedFd<'_>,
    messages: &mut [Outgoing],
    slices: &mut [IoSlice<'_>],
) -> io::Result<usize> {
    // SAFETY: `mmsghdr` is plain data for which all zeroes, that is null pointers of length 0, is a valid value.
    let mut headers: [libc::mmsghdr; SEND_BATCH] = unsafe { mem::zeroed() };
    let count = messages.len().min(SEND_BATCH);
    for (header, message) in headers.iter_mut().zip(&mut *messages) {
        // The slicing checks the range, so that the kernel stays inside the list.
        let parts = &mut slices[message.first..message.first + message.count];
        let header = &mut header.msg_hdr;
        header.msg_name = message.name.as_mut_ptr().cast();
        header.msg_namelen = message.name_length.min(NAME) as libc::socklen_t;
        // `IoSlice` is guaranteed to have the layout of `iovec`.
        header.msg_iov = parts.as_mut_ptr().cast();
        header.msg_iovlen = parts.len() as _;
        if message.control_length > 0 {
            header.msg_control = message.control.0.as_mut_ptr().cast();
            header.msg_controllen = message.control_length.min(CONTROL) as _;
        }
    }
    // SAFETY: the first `count` headers point to names, control data and slices inside `messages` and `slices`, with
    // lengths bounded by those arrays; both are borrowed until the call returns, and sending only reads them.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_sendmmsg,
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            count as libc::c_uint,
            libc::MSG_DONTWAIT,
        )
    };
    counted(sent)
}

/// Messages taken in one call.
pub(super) const RECEIVE_BATCH: usize = 8;
/// Calls whose messages can be held at once, each with buffers of its own.
pub(super) const RECEIVE_CALLS: usize = 4;
/// The most that one message can hold, coalesced or not.
const MESSAGE: usize = 65535;

/// Buffers for incoming messages; they are used again once all parts handed out are dropped.
pub(super) struct Incoming {
    buffers: Vec<BytesMut>,
    names: Vec<[u8; NAME]>,
    controls: Vec<Control>,
    control_lengths: Vec<usize>,
    /// Where the buffers of the last call begin.
    first: usize,
}

impl Incoming {
    pub(super) fn new() -> Self {
        Self {
            first: 0,
            buffers: vec![BytesMut::new(); RECEIVE_BATCH * RECEIVE_CALLS],
            names: vec![[0; NAME]; RECEIVE_BATCH],
            controls: vec![Control([0; CONTROL]); RECEIVE_BATCH],
            control_lengths: vec![0; RECEIVE_BATCH],
        }
    }

    /// Receives what is there, and returns how many messages that were (WouldBlock: none). `call` is below
    /// [`RECEIVE_CALLS`]: the first buffers, warm in the cache, are used again as soon as they are free.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>, call: usize) -> io::Result<usize> {
        // SAFETY: `mmsghdr` is plain data for which all zeroes, that is null pointers of length 0, is a valid value.
        let mut headers: [libc::mmsghdr; RECEIVE_BATCH] = unsafe { mem::zeroed() };
        // SAFETY: the same holds for `iovec`.
        let mut slices: [libc::iovec; RECEIVE_BATCH] = unsafe { mem::zeroed() };
        self.first = call * RECEIVE_BATCH;
        let buffers = &mut self.buffers[self.first..self.first + RECEIVE_BATCH];
        for (i, (header, slice)) in headers.iter_mut().zip(&mut slices).enumerate() {
            let buffer = &mut buffers[i];
            buffer.clear();
            if buffer.capacity() < MESSAGE && !buffer.try_reclaim(MESSAGE) {
                *buffer = BytesMut::with_capacity(MESSAGE);
            }
            let space = buffer.spare_capacity_mut();
            slice.iov_base = space.as_mut_ptr().cast();
            slice.iov_len = MESSAGE.min(space.len());
            let header = &mut header.msg_hdr;
            header.msg_name = self.names[i].as_mut_ptr().cast();
            header.msg_namelen = NAME as libc::socklen_t;
            header.msg_iov = slice;
            header.msg_iovlen = 1;
            header.msg_control = self.controls[i].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL as _;
        }
        // SAFETY: every header points to a name, control data and one slice of its own, of the lengths given; they
        // belong to `self`, `slices` to this function, and all live until the call returns.
        let count = counted(unsafe {
            libc::syscall(
                libc::SYS_recvmmsg,
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                RECEIVE_BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut::<libc::timespec>(),
            )
        })?;
        for (i, header) in headers[..count].iter().enumerate() {
            let truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            let length = if truncated { 0 } else { (header.msg_len as usize).min(slices[i].iov_len) };
            // SAFETY: the kernel has written `msg_len` bytes at the start of the spare capacity of this buffer,
            // whose length is 0, and `length` is no more than that capacity.
            unsafe { buffers[i].set_len(length) };
            // The field's type differs between C libraries.
            self.control_lengths[i] = (header.msg_hdr.msg_controllen as u64).min(CONTROL as u64) as usize;
        }
        Ok(count)
    }

    /// The parts of message `i` of the last [`Incoming::receive`]: payload, encoded sender, control data.
    pub(super) fn message(&mut self, i: usize) -> (&mut BytesMut, &[u8; NAME], &[u8]) {
        (&mut self.buffers[self.first + i], &self.names[i], &self.controls[i].0[..self.control_lengths[i]])
    }
}
