//! `cargo xtask release`: the Debian package. `cargo xtask image`: the container image.
//!
//! Both take nothing but the binary and the files of `packaging/` and `docker/`, and Debian's own tools:
//! dpkg-deb makes the archive, dpkg-shlibdeps says which libraries the binary needs, buildah makes the image.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{cargo, root, run};

/// Where a file of the package comes from, where it goes, its permissions.
const FILES: &[(&str, &str, u32)] = &[
    ("packaging/zkd.service", "lib/systemd/system/zkd.service", 0o644),
    ("packaging/zoo.cfg", "etc/zkd/zoo.cfg", 0o644),
    ("packaging/default", "etc/default/zkd", 0o644),
    ("scripts/zkServer.sh", "usr/bin/zkServer.sh", 0o755),
    ("scripts/zkCli.sh", "usr/bin/zkCli.sh", 0o755),
    ("packaging/debian/conffiles", "DEBIAN/conffiles", 0o644),
    ("packaging/debian/postinst", "DEBIAN/postinst", 0o755),
    ("packaging/debian/prerm", "DEBIAN/prerm", 0o755),
    ("packaging/debian/postrm", "DEBIAN/postrm", 0o755),
    ("README.md", "usr/share/doc/zkd/README.md", 0o644),
    ("packaging/debian/copyright", "usr/share/doc/zkd/copyright", 0o644),
];

/// The binary to pack: the one that is named, or a release build.
fn binary(named: Option<PathBuf>) -> Result<PathBuf> {
    if let Some(path) = named {
        return fs::canonicalize(&path).with_context(|| format!("{} is not there", path.display()));
    }
    run("build", &mut cargo(&["build", "--release", "-q", "-p", "zkd"]))?;
    Ok(target().join("release/zkd"))
}

fn target() -> PathBuf {
    std::env::var("CARGO_TARGET_DIR").map_or_else(|_| root().join("target"), PathBuf::from)
}

/// Makes `zkd_<version>_<architecture>.deb` in `<target>/dist`.
pub fn package(named: Option<PathBuf>) -> Result<()> {
    let binary = binary(named)?;
    let dist = target().join("dist");
    let stage = dist.join("deb");
    if stage.exists() {
        fs::remove_dir_all(&stage)?;
    }
    for (from, to, mode) in FILES {
        place(&fs::read(root().join(from))?, &stage.join(to), *mode)?;
    }
    let installed = stage.join("usr/bin/zkd");
    place(&fs::read(&binary)?, &installed, 0o755)?;
    run("strip", Command::new("strip").arg("--strip-unneeded").arg(&installed))?;
    place(
        &output(Command::new("gzip").arg("-9nc").arg(root().join("packaging/zkd.1")))?,
        &stage.join("usr/share/man/man1/zkd.1.gz"),
        0o644,
    )?;
    place(
        &output(Command::new("gzip").arg("-9nc").arg(root().join("CHANGELOG.md")))?,
        &stage.join("usr/share/doc/zkd/CHANGELOG.md.gz"),
        0o644,
    )?;
    let architecture = words(&output(Command::new("dpkg").arg("--print-architecture"))?);
    let version = env!("CARGO_PKG_VERSION");
    let control = fs::read_to_string(root().join("packaging/debian/control"))?
        .replace("@VERSION@", version)
        .replace("@ARCH@", &architecture)
        .replace("@SIZE@", &(size(&stage)? / 1024).to_string())
        .replace("@DEPENDS@", &libraries(&dist, &installed)?);
    place(control.as_bytes(), &stage.join("DEBIAN/control"), 0o644)?;
    let package = dist.join(format!("zkd_{version}_{architecture}.deb"));
    run(
        "package",
        Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&stage).arg(&package),
    )?;
    eprintln!("{}", package.display());
    Ok(())
}

/// The packages that the binary's libraries come from.
fn libraries(dist: &Path, binary: &Path) -> Result<String> {
    // The tool wants to stand in a source package.
    let work = dist.join("shlibdeps");
    fs::create_dir_all(work.join("debian"))?;
    fs::write(work.join("debian/control"), "Source: zkd\n\nPackage: zkd\nArchitecture: any\n")?;
    let found = output(
        Command::new("dpkg-shlibdeps").arg("-O").arg(format!("-e{}", binary.display())).current_dir(&work),
    )?;
    let found = words(&found);
    match found.strip_prefix("shlibs:Depends=") {
        Some(depends) => Ok(depends.to_owned()),
        None => bail!("dpkg-shlibdeps says {found:?}"),
    }
}

/// Makes the image `zkd` in the local store of buildah.
pub fn image(named: Option<PathBuf>, base: Option<String>) -> Result<()> {
    let binary = binary(named)?;
    let context = target().join("dist/image");
    for (from, name, mode) in [
        ("docker", "Dockerfile", 0o644),
        ("docker", "docker-entrypoint.sh", 0o755),
        ("scripts", "zkServer.sh", 0o755),
        ("scripts", "zkCli.sh", 0o755),
    ] {
        place(&fs::read(root().join(from).join(name))?, &context.join(name), mode)?;
    }
    place(&fs::read(&binary)?, &context.join("zkd"), 0o755)?;
    run("strip", Command::new("strip").arg("--strip-unneeded").arg(context.join("zkd")))?;
    let mut build = Command::new("buildah");
    // What runs in the making is two commands of Debian's: no container runtime is needed for them.
    build.args(["build", "--format", "docker", "--isolation", "chroot", "-t", "zkd"]);
    if let Some(base) = base {
        build.arg("--build-arg").arg(format!("BASE={base}"));
    }
    run("image", build.arg(&context))
}

fn place(content: &[u8], to: &Path, mode: u32) -> Result<()> {
    let dir = to.parent().context("a file has a directory")?;
    fs::create_dir_all(dir)?;
    fs::write(to, content).with_context(|| format!("write {}", to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))?;
    Ok(())
}

fn output(command: &mut Command) -> Result<Vec<u8>> {
    let out = command.output().with_context(|| format!("cannot start {command:?}"))?;
    if !out.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&out.stderr));
    }
    Ok(out.stdout)
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

fn size(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { size(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}
