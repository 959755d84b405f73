//! The interface: a TUN device that hands out and takes super-packets.

use std::fs::OpenOptions;
use std::io::{self, IoSlice, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use super::sys;
use crate::model::InterfaceName;

/// `TUN_F_*` of linux/if_tun.h.
const CHECKSUM: libc::c_uint = 0x01;
const TSO4: libc::c_uint = 0x02;
const TSO6: libc::c_uint = 0x04;
const TSO_ECN: libc::c_uint = 0x08;
/// UDP segmentation, Linux 6.2 and later.
const USO4: libc::c_uint = 0x20;
const USO6: libc::c_uint = 0x40;

/// The most that one read yields: a super-packet of 64 KiB behind its vnet header.
pub(super) const FRAME: usize = 65535 + super::super::vnet::VNET_HEADER;

/// An open TUN device. The interface lives as long as this does.
pub(super) struct Tun {
    file: std::fs::File,
    /// A socket of the interface's network namespace, for its MTU.
    control: std::os::fd::OwnedFd,
    name: String,
    /// Whether the kernel takes UDP super-packets.
    pub(super) udp_segmentation: bool,
}

/// Tells why there is no interface.
#[derive(Debug, thiserror::Error)]
pub enum TunError {
    /// An interface of this name is there already.
    #[error("there is already an interface {0}")]
    Exists(String),
    /// The kernel has no TUN driver, or `/dev/net/tun` is not to be had here.
    #[error("cannot open /dev/net/tun: {0}")]
    Unavailable(#[source] io::Error),
    /// CAP_NET_ADMIN is missing.
    #[error("not permitted to make the interface {0}")]
    NotPermitted(String),
    /// Anything else.
    #[error("cannot make the interface {name}: {source}")]
    Failed {
        /// The interface.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Tun {
    /// Makes the interface in the caller's network namespace, with this MTU in bytes. It starts down.
    pub(super) fn create(name: &InterfaceName, mtu: u16) -> Result<Self, TunError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK)
            .open("/dev/net/tun")
            .map_err(TunError::Unavailable)?;
        sys::tun_create(file.as_fd(), name).map_err(|source| match source.raw_os_error() {
            Some(libc::EBUSY | libc::EEXIST) => TunError::Exists(name.to_string()),
            Some(libc::EPERM) => TunError::NotPermitted(name.to_string()),
            _ => TunError::Failed { name: name.to_string(), source },
        })?;
        let failed = |source| TunError::Failed { name: name.to_string(), source };
        let tcp = CHECKSUM | TSO4 | TSO6 | TSO_ECN;
        let udp_segmentation = sys::tun_set_offload(file.as_fd(), tcp | USO4 | USO6).is_ok();
        // Older kernels lack UDP segmentation, stripped ones all of it; the device works without.
        if !udp_segmentation && sys::tun_set_offload(file.as_fd(), tcp).is_err() {
            tracing::info!(interface = %name, "the kernel offers no segmentation offload on TUN");
        }
        let control =
            sys::udp_socket(libc::AF_INET).or_else(|_| sys::udp_socket(libc::AF_INET6)).map_err(failed)?;
        sys::set_mtu(control.as_fd(), name.as_str(), mtu).map_err(failed)?;
        quiet(control.as_fd(), name.as_str()).map_err(failed)?;
        Ok(Self { file, control, name: name.to_string(), udp_segmentation })
    }

    /// Reads one frame, a vnet header and a packet, into `frame`, which holds [`FRAME`] bytes.
    pub(super) fn read(&self, frame: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(frame)
    }

    /// Writes one frame given in parts.
    pub(super) fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        nix::sys::uio::writev(&self.file, parts)?;
        Ok(())
    }

    /// Reads the MTU in bytes; `None` where the interface was renamed or is gone.
    pub(super) fn mtu(&self) -> Option<u16> {
        let mtu = sys::mtu(self.control.as_fd(), &self.name).ok()?;
        Some(u16::try_from(mtu).unwrap_or(u16::MAX))
    }
}

/// Keeps the host's kernel from speaking by itself into the tunnel, as on a WireGuard link of the kernel's: a TUN would get
/// a link-local address, ask for routers and report multicast groups, and each of these wakes a session that nobody uses.
fn quiet(control: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    /// `IN6_ADDR_GEN_MODE_NONE` of linux/if_link.h.
    const NONE: &str = "1";
    sys::without_multicast(control, name)?;
    match std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/addr_gen_mode"), NONE) {
        // A host without IPv6 has none of that to say; where a container may not write, whoever asked for the link tries
        // by netlink.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ReadOnlyFilesystem) => {
            Ok(())
        }
        done => done,
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
