//! Texts in etcd: compressed, in chunks that fit a request, under the digest of what they say. What is written twice is the same.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use super::etcd::{Check, Client, EtcdError, Put};
use crate::store::Digest;
use crate::store::files::MAX_FILE_BYTES;

/// etcd takes requests of 1.5 MiB unless told otherwise, and the gateway a third more.
const CHUNK: usize = 512 << 10;

/// A text as it is written.
pub struct Blob {
    digest: Digest,
    chunks: Vec<(String, Vec<u8>)>,
}

impl Blob {
    /// Prepares a text; `folder` is where blobs are, ending with a slash.
    pub fn new(folder: &str, text: &[u8]) -> Self {
        let digest = Digest::of(text);
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).expect("memory takes every write");
        let packed = encoder.finish().expect("memory takes every write");
        // What is empty has a chunk, too.
        let mut chunks: Vec<Vec<u8>> = packed.chunks(CHUNK).map(<[u8]>::to_vec).collect();
        if chunks.is_empty() {
            chunks.push(Vec::new());
        }
        let named = chunks.into_iter().enumerate();
        let chunks = named.map(|(n, chunk)| (format!("{folder}{}/{n:04}", digest.as_str()), chunk));
        Self { chunks: chunks.collect(), digest }
    }

    /// Returns the digest of what it says.
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Writes it.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub fn write(&self, client: &mut Client) -> Result<(), EtcdError> {
        for (key, chunk) in &self.chunks {
            client.transact(&[], &[Put { key: key.clone(), value: chunk, lease: 0 }], &[])?;
        }
        Ok(())
    }

    /// Returns what holds while all of it is there.
    pub fn checks(&self) -> impl Iterator<Item = Check> {
        self.chunks.iter().map(|(key, _)| Check::There(key.clone()))
    }
}

/// Reads what is under a digest; `None`: it is not there, or not what it should be.
///
/// # Errors
/// See [`EtcdError`].
pub fn read(client: &mut Client, folder: &str, digest: &Digest) -> Result<Option<Vec<u8>>, EtcdError> {
    let from = format!("{folder}{}/", digest.as_str());
    // The byte after a slash.
    let to = format!("{folder}{}0", digest.as_str());
    let packed: Vec<u8> =
        client.range(&from, Some(&to))?.pairs.into_iter().flat_map(|pair| pair.value).collect();
    Ok(unpacked(&packed).filter(|text| Digest::of(text) == *digest))
}

/// Returns the digest that a blob's key names; `None`: it is no blob's.
pub fn digest_in(folder: &str, key: &str) -> Option<Digest> {
    Digest::try_from(key.strip_prefix(folder)?.split('/').next()?.to_owned()).ok()
}

fn unpacked(packed: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    // Whoever may write to the store may write what has no end.
    DeflateDecoder::new(packed).take(MAX_FILE_BYTES + 1).read_to_end(&mut text).ok()?;
    (text.len() as u64 <= MAX_FILE_BYTES).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(text in prop::collection::vec(any::<u8>(), 0..2000), times in 1_usize..600) {
            let text = text.repeat(times);
            let blob = Blob::new("/b/", &text);
            let packed: Vec<u8> = blob.chunks.iter().flat_map(|(_, chunk)| chunk.clone()).collect();
            prop_assert!(blob.chunks.iter().all(|(key, chunk)| chunk.len() <= CHUNK && digest_in("/b/", key) == Some(Digest::of(&text))));
            prop_assert_eq!(unpacked(&packed), Some(text));
        }
    }

    #[test]
    fn what_is_no_text_of_ours_is_none() {
        assert_eq!(unpacked(&[0xff, 0xff, 0xff]), None);
        let endless = Blob::new("/b/", &vec![0; MAX_FILE_BYTES as usize + 1]);
        let packed: Vec<u8> = endless.chunks.iter().flat_map(|(_, chunk)| chunk.clone()).collect();
        assert_eq!(unpacked(&packed), None);
        assert_eq!(digest_in("/b/", "/b/no/0000"), None);
    }
}
