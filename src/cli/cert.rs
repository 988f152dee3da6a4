//! `ovid cert`: an authority and a certificate of it, for trying TLS out and for small grids.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::ServerName;

#[derive(Debug, Args)]
pub(super) struct CertArgs {
    /// The folder for authority.pem, authority-key.pem, certificate.pem and key.pem; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// An address or a name by which servers with this certificate are reached; may be given several times. Without it:
    /// `127.0.0.1`, `::1` and `localhost`
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// For how many days both are good, from now on
    #[arg(long, default_value_t = 365, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
}

/// The files: name, and whether only its owner may read it.
const FILES: [(&str, bool); 4] =
    [("authority.pem", false), ("authority-key.pem", true), ("certificate.pem", false), ("key.pem", true)];

#[expect(clippy::print_stdout, reason = "the files are what this command is for")]
pub(super) fn run(args: &CertArgs) -> anyhow::Result<ExitCode> {
    let names = create(args)?.map(|path| path.display().to_string());
    println!("{}", names.join("\n"));
    Ok(ExitCode::SUCCESS)
}

/// Makes the files for `127.0.0.1`, `::1` and `localhost`, if they are not there.
pub(super) fn create_for_this_machine(folder: &Path) -> anyhow::Result<()> {
    let is_there = folder.join("authority.pem").exists();
    let args = CertArgs { out: folder.to_owned(), names: Vec::new(), days: 30 };
    if is_there { Ok(()) } else { create(&args).map(|_| ()) }
}

/// Makes the files, and says where they are.
fn create(args: &CertArgs) -> anyhow::Result<[PathBuf; 4]> {
    std::fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    let paths = FILES.map(|(name, _)| args.out.join(name));
    if let Some(path) = paths.iter().find(|path| path.exists()) {
        bail!("{} exists already, and may be in use: choose another folder, or take it away", path.display());
    }
    let texts = make(args)?;
    for ((path, text), (_, secret)) in paths.iter().zip(texts).zip(FILES) {
        write(path, &text, secret).with_context(|| path.display().to_string())?;
    }
    Ok(paths)
}

/// The texts of the files.
fn make(args: &CertArgs) -> anyhow::Result<[String; 4]> {
    let since_1970 = super::since_1970();
    // Clocks of other machines may be late.
    let from = date_time_ymd(1970, 1, 1) + since_1970.saturating_sub(DAY);
    let until = date_time_ymd(1970, 1, 1) + since_1970 + DAY * args.days;

    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_key = KeyPair::generate().context("no key for the authority")?;
    // Two authorities of one name would be taken for each other until a signature is looked at, and the error would speak of that.
    let print = crc32fast::hash(authority_key.public_key_raw());
    params.distinguished_name.push(DnType::CommonName, format!("ovid authority {print:08x}"));
    (params.not_before, params.not_after) = (from, until);
    let authority = params.self_signed(&authority_key).context("no certificate for the authority")?;
    let issuer = Issuer::from_params(&params, &authority_key);

    let mut names = args.names.clone();
    if names.is_empty() {
        names = ["127.0.0.1", "::1", "localhost"].map(str::to_owned).to_vec();
    }
    if let Some(name) = names.iter().find(|name| ServerName::try_from(name.as_str()).is_err()) {
        bail!(
            "--name {name:?}: expected an address, such as 127.0.0.1, or the name of a machine, such as localhost"
        );
    }
    let mut params = CertificateParams::new(names).context("--name")?;
    params.distinguished_name.push(DnType::CommonName, "ovid");
    // A box is the one side of a link or the other.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = (from, until);
    let key = KeyPair::generate().context("no key")?;
    let certificate = params.signed_by(&key, &issuer).context("no certificate")?;
    Ok([authority.pem(), authority_key.serialize_pem(), certificate.pem(), key.serialize_pem()])
}

/// Never in place of another file; a secret is never readable by others, not even for a moment.
fn write(path: &Path, text: &str, secret: bool) -> std::io::Result<()> {
    let mode = if secret { 0o600 } else { 0o644 };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
