//! Certificates that a spec names: authorities of a registry, and ours towards it.
//!
//! All are read by the parsers of the members' TLS, since a member does not take a configuration that those refuse.

use rustls::{crypto::aws_lc_rs::sign::any_supported_type, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tidepool_api::{CaRef, SecretRef};

use super::{
    Invalid,
    references::{find, secret},
};
use crate::{ClientCertificate, Concealed, Referenced};

/// The certificates of authorities, PEM.
pub(super) fn authorities(field: &str, reference: &CaRef, referenced: &Referenced) -> Result<Concealed, Invalid> {
    let found = find(field, reference.kind, &reference.name, referenced)?;
    let text = found.get(&reference.key).ok_or_else(|| found.no_key(&reference.key))?;
    let remedy = "put PEM certificates of authorities there";
    check_authorities(text).map_err(|why| found.invalid_key(&reference.key, &why, remedy))?;
    Ok(Concealed(text.to_vec()))
}

fn check_authorities(text: &[u8]) -> Result<(), String> {
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(text) {
        count += 1;
        let sound = certificate.ok().is_some_and(|der| webpki::anchor_from_trusted_cert(&der).is_ok());
        if !sound {
            return Err(format!("holds PEM whose certificate {count} cannot be read"));
        }
    }
    if count == 0 { Err("holds no PEM certificate".to_owned()) } else { Ok(()) }
}

/// The certificate that is shown to a registry, and its key.
pub(super) fn client(
    field: &str,
    reference: &SecretRef,
    referenced: &Referenced,
) -> Result<ClientCertificate, Invalid> {
    let found = secret(field, reference, referenced)?;
    let (certificate, key) = (found.require("tls.crt")?, found.require("tls.key")?);
    let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>().unwrap_or_default();
    let sound = !chain.is_empty() && chain.iter().all(|der| webpki::EndEntityCert::try_from(der).is_ok());
    if !sound {
        return Err(found.invalid("has no PEM certificate that can be read in tls.crt", "put the certificate there"));
    }
    let signer = PrivateKeyDer::from_pem_slice(key).ok().and_then(|der| any_supported_type(&der).ok());
    let Some(signer) = signer else {
        return Err(found.invalid("has no PEM key that can be read in tls.key", "put the certificate's key there"));
    };
    if matches!(CertifiedKey::new(chain, signer).keys_match(), Err(rustls::Error::InconsistentKeys(_))) {
        return Err(found.invalid("has a tls.key that is not the key of its tls.crt", "put the two together there"));
    }
    Ok(ClientCertificate { certificate: Concealed(certificate.to_vec()), key: Concealed(key.to_vec()) })
}
