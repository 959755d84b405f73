//! Who changed our nftables table last: the kernel tells at the end of each transaction whose it was.

use std::sync::{Arc, Mutex, PoisonError};

use super::netlink_monitor::{HEADER, NETFILTER_HEADER, attribute, messages, table_of, u16_at};

/// `NFT_MSG_NEWGEN`, which ends a transaction, and its attributes with a process and its name (linux/netfilter/nf_tables.h).
const NFT_MSG_NEWGEN: u16 = 15;
const NFTA_GEN_PROC_PID: u16 = 2;
const NFTA_GEN_PROC_NAME: u16 = 3;

/// The process of the last transaction that touched a table. Every clone means the same.
#[derive(Debug, Clone, Default)]
pub struct LastAuthor(Arc<Mutex<Heard>>);

#[derive(Debug, Default)]
struct Heard {
    /// Whether the transaction under way touches the table.
    touched: bool,
    last: Option<String>,
}

impl LastAuthor {
    /// Returns the process's name and number, and forgets it; `None`: the kernel told of none since.
    pub fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last.take()
    }

    /// Hears what the kernel tells of nftables.
    pub(super) fn hear(&self, told: &[u8], table: &str) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for message in messages(told) {
            let kind = u16_at(&message[4..]).unwrap_or_default() & 0xff;
            if kind != NFT_MSG_NEWGEN {
                heard.touched |= table_of(&message[HEADER..]) == Some(table.as_bytes());
            } else if std::mem::take(&mut heard.touched) {
                heard.last = process_of(&message[HEADER..]);
            }
        }
    }

    /// Knows that news were lost.
    pub(super) fn miss(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Heard::default();
    }
}

fn process_of(body: &[u8]) -> Option<String> {
    let body = body.get(NETFILTER_HEADER..)?;
    let name = attribute(body, NFTA_GEN_PROC_NAME)?.split(|byte| *byte == 0).next()?;
    let name = String::from_utf8_lossy(name).into_owned();
    let number =
        attribute(body, NFTA_GEN_PROC_PID).and_then(|pid| Some(u32::from_be_bytes(pid.try_into().ok()?)));
    Some(match number {
        Some(number) => format!("{name} (process {number})"),
        None => name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![1, 0, 0, 0];
        for (kind, value) in attributes {
            body.extend(u16::try_from(value.len() + 4).unwrap().to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut message = u32::try_from(HEADER + body.len()).unwrap().to_ne_bytes().to_vec();
        message.extend((0x0a00 | kind).to_ne_bytes());
        message.extend([0; 10]);
        message.extend(body);
        message
    }

    #[test]
    fn the_process_of_a_transaction_on_our_table_is_known() {
        let rule = |table: &[u8]| message(6, &[(1, table)]);
        let end = |pid: u32, name: &[u8]| {
            let attributes: [(u16, &[u8]); 3] =
                [(1, &[0, 0, 0, 9]), (NFTA_GEN_PROC_PID, &pid.to_be_bytes()), (NFTA_GEN_PROC_NAME, name)];
            message(NFT_MSG_NEWGEN, &attributes)
        };
        let (ours, other) = (rule(b"wgrelay-wg0\0"), rule(b"filter\0"));
        let author = LastAuthor::default();
        let hear = |told: &[Vec<u8>]| author.hear(&told.concat(), "wgrelay-wg0");
        hear(&[other.clone(), end(7, b"docker\0")]);
        assert_eq!(author.take(), None);
        hear(&[ours.clone(), other.clone(), end(4242, b"nft\0"), other.clone(), end(7, b"docker\0")]);
        assert_eq!(author.take().as_deref(), Some("nft (process 4242)"));
        assert_eq!(author.take(), None);
        // What one transaction changes may come in several pieces.
        hear(std::slice::from_ref(&ours));
        hear(&[end(9, b"firewall\0")]);
        assert_eq!(author.take().as_deref(), Some("firewall (process 9)"));
        hear(std::slice::from_ref(&ours));
        author.miss();
        hear(&[end(9, b"firewall\0")]);
        assert_eq!(author.take(), None, "what was lost may have ended it");
        // An older kernel tells of none, and whatever is in there, it is read to its end.
        hear(&[ours.clone(), message(NFT_MSG_NEWGEN, &[(1, &[0, 0, 0, 9])])]);
        assert_eq!(author.take(), None);
        let whole = [ours, end(4242, b"nft\0")].concat();
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 0xff;
            author.hear(&broken, "wgrelay-wg0");
            author.hear(&whole[..at], "wgrelay-wg0");
        }
    }
}
