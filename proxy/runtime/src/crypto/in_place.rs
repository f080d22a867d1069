//! AES-GCM of TLS 1.3 that opens records where they lie.
//!
//! aws-lc-rs ends `open_in_place` by moving the plaintext to where it is already, and musl's `memmove` goes backwards byte by
//! byte when both ends are the same, which a profile of the agent showed. Its `open_in_place_separate_tag` moves nothing.
//! Sealing, keys and handshake stay those of rustls. When aws-lc-rs moves nothing, this file can go.

use std::sync::LazyLock;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, Nonce, UnboundKey};
use rustls::{
    CipherSuiteCommon, ConnectionTrafficSecrets, Error, SupportedCipherSuite, Tls13CipherSuite,
    crypto::{
        aws_lc_rs::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384},
        cipher::{
            AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter,
            Nonce as RecordNonce, Tls13AeadAlgorithm, UnsupportedOperationError, make_tls13_aad,
        },
    },
};

/// `TLS_AES_128_GCM_SHA256`.
#[must_use]
pub fn aes_128() -> SupportedCipherSuite {
    static SUITE: LazyLock<Option<Tls13CipherSuite>> =
        LazyLock::new(|| in_place(TLS13_AES_128_GCM_SHA256, &AES_128_GCM));
    SUITE.as_ref().map_or(TLS13_AES_128_GCM_SHA256, SupportedCipherSuite::Tls13)
}

/// `TLS_AES_256_GCM_SHA384`.
#[must_use]
pub fn aes_256() -> SupportedCipherSuite {
    static SUITE: LazyLock<Option<Tls13CipherSuite>> =
        LazyLock::new(|| in_place(TLS13_AES_256_GCM_SHA384, &AES_256_GCM));
    SUITE.as_ref().map_or(TLS13_AES_256_GCM_SHA384, SupportedCipherSuite::Tls13)
}

fn in_place(suite: SupportedCipherSuite, algorithm: &'static Algorithm) -> Option<Tls13CipherSuite> {
    let suite = suite.tls13()?;
    Some(Tls13CipherSuite {
        common: CipherSuiteCommon {
            suite: suite.common.suite,
            hash_provider: suite.common.hash_provider,
            confidentiality_limit: suite.common.confidentiality_limit,
        },
        hkdf_provider: suite.hkdf_provider,
        // Once for each suite of a process.
        aead_alg: Box::leak(Box::new(InPlace { algorithm, rest: suite.aead_alg })),
        quic: None,
    })
}

struct InPlace {
    algorithm: &'static Algorithm,
    /// What rustls has.
    rest: &'static dyn Tls13AeadAlgorithm,
}

impl Tls13AeadAlgorithm for InPlace {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        self.rest.encrypter(key, iv)
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        match UnboundKey::new(self.algorithm, key.as_ref()) {
            Ok(key) => Box::new(Opener { key: LessSafeKey::new(key), iv }),
            Err(_) => self.rest.decrypter(key, iv),
        }
    }

    fn key_len(&self) -> usize {
        self.rest.key_len()
    }

    fn extract_keys(&self, key: AeadKey, iv: Iv) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.rest.extract_keys(key, iv)
    }

    fn fips(&self) -> bool {
        self.rest.fips()
    }
}

/// Opens the records of one direction of a connection (RFC 8446, section 5.2).
struct Opener {
    key: LessSafeKey,
    iv: Iv,
}

impl MessageDecrypter for Opener {
    fn decrypt<'a>(
        &mut self,
        mut record: InboundOpaqueMessage<'a>,
        sequence: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let payload = &mut record.payload;
        let aad = Aad::from(make_tls13_aad(payload.len()));
        let nonce = Nonce::assume_unique_for_key(RecordNonce::new(&self.iv, sequence).0);
        let length = payload.len().checked_sub(self.key.algorithm().tag_len()).ok_or(Error::DecryptError)?;
        let (sealed, tag) = payload.split_at_mut(length);
        self.key.open_in_place_separate_tag(nonce, aad, tag, sealed).map_err(|_| Error::DecryptError)?;
        payload.truncate(length);
        record.into_tls13_unpadded_message()
    }
}

#[cfg(test)]
mod tests {
    use rustls::{
        ContentType, ProtocolVersion,
        crypto::cipher::{OutboundChunks, OutboundPlainMessage},
    };

    use super::*;

    /// A record that rustls sealed, without its head.
    fn sealed(text: &[u8], sequence: u64) -> Vec<u8> {
        let algorithm = TLS13_AES_256_GCM_SHA384.tls13().unwrap().aead_alg;
        let mut sealing = algorithm.encrypter(AeadKey::from([7; 32]), Iv::from([9; 12]));
        let plain = OutboundPlainMessage {
            typ: ContentType::ApplicationData,
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(text),
        };
        sealing.encrypt(plain, sequence).unwrap().encode()[5..].to_vec()
    }

    fn open(record: &mut [u8], sequence: u64) -> Result<Vec<u8>, Error> {
        let algorithm = aes_256().tls13().unwrap().aead_alg;
        let mut opening = algorithm.decrypter(AeadKey::from([7; 32]), Iv::from([9; 12]));
        let message = InboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, record);
        opening.decrypt(message, sequence).map(|plain| plain.payload.to_vec())
    }

    #[test]
    fn what_rustls_sealed_is_opened_and_what_was_changed_is_not() {
        for text in [b"".as_slice(), b"a", &[5; 16 << 10]] {
            let record = sealed(text, 3);
            assert_eq!(open(&mut record.clone(), 3).unwrap(), text);
            assert_eq!(open(&mut record.clone(), 4), Err(Error::DecryptError), "out of its turn");
            for at in [0, record.len() / 2, record.len() - 1] {
                let mut changed = record.clone();
                changed[at] ^= 1;
                assert_eq!(open(&mut changed, 3), Err(Error::DecryptError), "byte {at}");
            }
        }
        assert_eq!(open(&mut [0; 15], 3), Err(Error::DecryptError), "shorter than a tag");
    }

    #[test]
    fn both_suites_are_those_of_their_names_and_open_by_this_file() {
        for (ours, theirs) in [(aes_128(), TLS13_AES_128_GCM_SHA256), (aes_256(), TLS13_AES_256_GCM_SHA384)] {
            assert_eq!(ours.suite(), theirs.suite());
            let alg = |suite: SupportedCipherSuite| std::ptr::from_ref(suite.tls13().unwrap().aead_alg).cast::<()>();
            assert_ne!(alg(ours), alg(theirs));
        }
    }
}
