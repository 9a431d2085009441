use super::*;

fn disk() -> (tempfile::TempDir, LocalDisk) {
    let folder = tempfile::tempdir().unwrap();
    let disk = LocalDisk::new(folder.path().join("state"));
    (folder, disk)
}

fn names(disk: &LocalDisk, folder: &str) -> Vec<String> {
    disk.list(Path::new(folder)).unwrap().into_iter().map(|file| file.name).collect()
}

#[test]
fn what_is_written_is_read_back_whole() {
    let (_folder, disk) = disk();
    let path = Path::new("spool/s/1.json");
    assert_eq!(disk.read(path).unwrap(), None);
    assert!(disk.open(path).unwrap().is_none());
    assert!(names(&disk, "spool/s").is_empty());
    disk.write(path, &[b"one ", b"two"]).unwrap();
    disk.write(path, &[b"three"]).unwrap();
    assert_eq!(disk.read(path).unwrap().unwrap(), b"three");
    let mut text = String::new();
    disk.open(path).unwrap().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "three");
    let listed = disk.list(Path::new("spool/s")).unwrap();
    assert_eq!((listed.len(), listed[0].len, listed[0].is_dir), (1, 5, false));
    assert!(disk.list(Path::new("spool")).unwrap()[0].is_dir);
    disk.remove(path).unwrap();
    disk.remove(path).unwrap();
    assert_eq!(disk.read(path).unwrap(), None);
}

#[test]
fn no_path_leaves_the_directory() {
    let (folder, disk) = disk();
    fs::write(folder.path().join("secret"), "x").unwrap();
    for path in ["../secret", "a/../../secret", "/etc/hostname", "a/./..", "spool/.tmp-1-1"] {
        let path = Path::new(path);
        assert_eq!(disk.read(path).unwrap_err().kind(), ErrorKind::InvalidInput, "{path:?}");
        assert!(disk.write(path, &[b"y"]).is_err());
        assert!(disk.remove(path).is_err());
        assert!(disk.link(Path::new("a"), path).is_err());
    }
    assert_eq!(fs::read(folder.path().join("secret")).unwrap(), b"x");
}

#[test]
fn a_failed_write_leaves_what_was_there_and_nothing_else() {
    let (_folder, disk) = disk();
    disk.write(Path::new("a/file"), &[b"old"]).unwrap();
    disk.write(Path::new("a/folder/x"), &[b""]).unwrap();
    assert!(disk.write(Path::new("a/folder"), &[b"new"]).is_err());
    assert!(disk.write(Path::new("a/file/below"), &[b"new"]).is_err());
    assert_eq!(disk.read(Path::new("a/file")).unwrap().unwrap(), b"old");
    assert_eq!(fs::read_dir(disk.full_path(Path::new("a"))).unwrap().count(), 2);
}

#[test]
fn a_file_grows_is_begun_anew_and_gets_its_name() {
    let (_folder, disk) = disk();
    let (open, sealed) = (Path::new("spool/s/open"), Path::new("spool/s/1"));
    let missing = |result: io::Result<()>| assert_eq!(result.unwrap_err().kind(), ErrorKind::NotFound);
    missing(disk.write_at(open, 1, &[b"x"]));
    missing(disk.persist(open, sealed));
    disk.write_at(open, 0, &[b"of a batch ", b"that was dropped"]).unwrap();
    disk.write_at(open, 0, &[b"ab", b"c"]).unwrap();
    disk.write_at(open, 3, &[b"of which only a part came"]).unwrap();
    disk.write_at(open, 3, &[b"de"]).unwrap();
    missing(disk.write_at(open, 6, &[b"x"]));
    disk.persist(open, sealed).unwrap();
    assert_eq!(disk.read(sealed).unwrap().unwrap(), b"abcde");
    assert_eq!(disk.read(open).unwrap(), None);
    // As after a try that had renamed it.
    disk.persist(open, sealed).unwrap();
    missing(disk.write_at(open, 5, &[b"x"]));
    assert_eq!(names(&disk, "spool/s"), ["1"]);
}

#[test]
fn what_the_disk_did_not_take_is_lost_and_not_tried_again() {
    let (_folder, disk) = disk();
    let (open, sealed) = (Path::new("spool/s/open"), Path::new("spool/s/1"));
    disk.write_at(open, 0, &[b"abc"]).unwrap();
    let path = disk.full_path(open);
    fs::remove_file(&path).unwrap();
    // Its fsync fails; and a second one would not be asked.
    std::os::unix::fs::symlink("/dev/null", &path).unwrap();
    assert_eq!(disk.persist(open, sealed).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(names(&disk, "spool/s"), [""; 0]);
    assert_eq!(disk.persist(open, sealed).unwrap_err().kind(), ErrorKind::NotFound);
    disk.write_at(open, 0, &[b"anew"]).unwrap();
    disk.persist(open, sealed).unwrap();
    assert_eq!(disk.read(sealed).unwrap().unwrap(), b"anew");
}

#[test]
fn links_go_over_whatever_is_there_and_outlive_the_first_name() {
    let (_folder, disk) = disk();
    let (from, to) = (Path::new("spool/1"), Path::new("archive/x/1"));
    assert_eq!(disk.link(from, to).unwrap_err().kind(), ErrorKind::NotFound);
    disk.write(from, &[b"data"]).unwrap();
    disk.write(to, &[b"older"]).unwrap();
    disk.link(from, to).unwrap();
    // Again: both names are one file now, which a bare rename would leave under its temporary name.
    disk.link(from, to).unwrap();
    disk.remove(from).unwrap();
    assert_eq!(disk.read(to).unwrap().unwrap(), b"data");
    assert_eq!(fs::read_dir(disk.full_path(Path::new("archive/x"))).unwrap().count(), 1);
}

#[test]
fn renames_and_empty_folders() {
    let (_folder, disk) = disk();
    disk.write(Path::new("a/1"), &[b"x"]).unwrap();
    disk.remove_folder(Path::new("a")).unwrap();
    disk.rename(Path::new("a/1"), Path::new("b/c/1")).unwrap();
    disk.remove_folder(Path::new("a")).unwrap();
    disk.remove_folder(Path::new("a")).unwrap();
    assert_eq!(names(&disk, ""), ["b"]);
    assert!(disk.rename(Path::new("a/1"), Path::new("b/1")).is_err());
}

#[test]
fn left_over_temporaries_are_hidden_and_removed() {
    let (_folder, disk) = disk();
    assert_eq!(disk.remove_temporaries().unwrap(), 0);
    disk.write(Path::new("spool/s/1"), &[b"x"]).unwrap();
    fs::write(disk.full_path(Path::new("spool/s/.tmp-77-0")), "half").unwrap();
    assert_eq!(names(&disk, "spool/s"), ["1"]);
    assert_eq!(disk.remove_temporaries().unwrap(), 1);
    assert_eq!(fs::read_dir(disk.full_path(Path::new("spool/s"))).unwrap().count(), 1);
}
