//! Damaged files: kept for whoever wants to look at them, out of the way of everything else.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::ports::Disk;

/// Moves a file to the same place under `damaged/`, beside any that was set aside before it, and
/// says where it lies now.
pub fn set_aside(disk: &dyn Disk, path: &Path) -> io::Result<PathBuf> {
    let target = Path::new("damaged").join(path);
    let folder = target.parent().unwrap_or(Path::new("damaged"));
    let taken: BTreeSet<String> = disk.list(folder)?.into_iter().map(|file| file.name).collect();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut chosen = name.to_string();
    let mut earlier = 0_u32;
    while taken.contains(&chosen) {
        earlier += 1;
        chosen = format!("{name}.{earlier}");
    }
    let chosen = folder.join(chosen);
    disk.rename(path, &chosen)?;
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::LocalDisk;

    #[test]
    fn an_earlier_one_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let disk = LocalDisk::new(folder.path());
        let path = Path::new("checkpoints/s.json");
        let mut places = Vec::new();
        for text in ["a", "b", "c"] {
            disk.write(path, &[text.as_bytes()]).unwrap();
            places.push(set_aside(&disk, path).unwrap());
            assert_eq!(disk.read(path).unwrap(), None);
        }
        for (place, text) in places.iter().zip(["a", "b", "c"]) {
            assert_eq!(disk.read(place).unwrap().unwrap(), text.as_bytes());
        }
        assert_eq!(places[2], Path::new("damaged/checkpoints/s.json.2"));
        assert!(set_aside(&disk, path).is_err());
    }
}
