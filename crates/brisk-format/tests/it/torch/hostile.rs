//! Files that were made to do harm, or were damaged.

use std::fs;
use std::path::PathBuf;

use brisk_format::{TorchFile, TorchValue};
use proptest::prelude::*;

use super::golden;
use super::write::{self, archive, int, ints, text};
use crate::hostile::mutate;

/// Opens such bytes.
fn open_bytes(bytes: &[u8]) -> (tempfile::TempDir, Result<TorchFile, String>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hostile.pt");
    fs::write(&path, bytes).unwrap();
    let file = TorchFile::open(&path);
    let file = file.map_err(|e| e.to_string().replace(&path.display().to_string(), "hostile.pt"));
    (dir, file)
}

/// Opens an archive with this pickle and one storage of 16 bytes.
fn open(pickle: &[u8]) -> (tempfile::TempDir, Result<TorchFile, String>) {
    open_bytes(&archive(&[("a/data.pkl", pickle), ("a/byteorder", b"little"), ("a/data/0", &[0; 16])]))
}

#[track_caller]
fn refuses(pickle: &[u8], expected: &str) {
    let error = open(pickle).1.unwrap_err();
    assert!(error.contains(expected), "expected {expected:?} in: {error}");
}

/// A tensor `w` of f32 over a storage with so many elements, as it is said.
fn tensor(key: &str, elements: u64, offset: u64, shape: &[u64], strides: &[u64]) -> Vec<u8> {
    let value = write::tensor(key, elements, offset, shape, strides);
    [b"\x80\x02}".to_vec(), text("w"), value, b"s.".to_vec()].concat()
}

#[test]
fn what_the_tests_make_is_what_is_read() {
    let (_dir, file) = open(&tensor("0", 4, 1, &[1, 3], &[3, 1]));
    let file = file.unwrap();
    assert_eq!(file.shape("w").unwrap().dims(), [1, 3]);
    assert_eq!(file.tensor("w").unwrap().f32s().unwrap(), [0.0; 3]);
    // Nothing is read of what has no elements, wherever that begins.
    let (_dir, file) = open(&tensor("0", 4, u64::MAX, &[3, 0], &[u64::MAX, 1]));
    assert_eq!(file.unwrap().tensor("w").unwrap().elements(), 0);
}

/// As in a checkpoint of a training program, whose arguments and paths are objects of classes.
#[test]
fn all_that_is_refused_is_named() {
    let arguments = b"cargparse\nNamespace\n)\x81}(X\x04\0\0\0pathcpathlib\nPosixPath\n(X\x01\0\0\0atRub";
    let own = b"cmy.config\nOptions\n)R(K\x01ecmy.config\nMap\n)R(K\x01K\x02ucargparse\nNamespace\n)\x81";
    let pickle = [b"\x80\x02(", &arguments[..], own, b"l."].concat();
    refuses(
        &pickle,
        "byte 23 of its pickle: the file wants to call argparse.Namespace, my.config.Map, my.config.Options, pathlib.PosixPath; \
         Brisk reads tensors and containers only, and runs nothing that a file brings; save model.state_dict() with torch.save",
    );
    // Even if something is wrong behind it, or nothing is there at all.
    refuses(b"cmy\nclass\n(", "the file wants to call my.class;");
    refuses(b"cmy\nclass\ncmy\nother\nJ", "the file wants to call my.class, my.other;");
    // But not more than can be read.
    let many: Vec<u8> = (0..1000).flat_map(|i| format!("cmy\nclass_{i}\n").into_bytes()).collect();
    let (_dir, file) = open(&many);
    let error = file.unwrap_err();
    assert!(error.contains("my.class_31,") && !error.contains("class_32"), "{error}");
}

#[test]
fn nothing_that_could_run_is_let_in() {
    for (pickle, name) in [
        (&b"cos\nsystem\n(X\x02\0\0\0idtR."[..], "os.system"),
        (b"cposix\nsystem\n(X\x02\0\0\0idtR.", "posix.system"),
        (b"cbuiltins\neval\n(X\x01\0\0\0atR.", "builtins.eval"),
        (b"c__builtin__\nexec\n(X\x01\0\0\0atR.", "__builtin__.exec"),
        (b"cbuiltins\ngetattr\n.", "builtins.getattr"),
        (b"cmarshal\nloads\n(C\x01NtR.", "marshal.loads"),
        (b"ctypes\nFunctionType\n.", "types.FunctionType"),
        (b"csubprocess\nPopen\n.", "subprocess.Popen"),
        (b"ctorch\nload\n(X\x01\0\0\0atR.", "torch.load"),
        (b"ctorch.hub\nload\n.", "torch.hub.load"),
        (b"ctorch.serialization\nload\n.", "torch.serialization.load"),
        (b"cnumpy\nload\n.", "numpy.load"),
        (b"ccollections\nnamedtuple\n.", "collections.namedtuple"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.", "os.system"),
        (b"(X\x02\0\0\0idios\nsystem\n.", "os.system"),
        (b"(cos\nsystem\nX\x02\0\0\0ido.", "os.system"),
        (b"cos\nsystem\n)\x81.", "os.system"),
    ] {
        refuses(pickle, &format!("the file wants to call {name}; Brisk reads tensors and containers only"));
        // In the format before, too.
        let (_dir, file) = open_bytes(&[legacy_head(), pickle.to_vec()].concat());
        assert!(file.unwrap_err().contains(name));
    }
    refuses(
        b"ctorch.storage\n_load_from_bytes\n.",
        "it was made by pickle itself (torch.storage._load_from_bytes)",
    );
    refuses(b"\x82\x01.", "instruction 0x82 refers to something outside of the file");
    refuses(b"X\x01\0\0\0aQ.", "it refers to something outside that is no storage of tensors");
    // What is known can be called only as PyTorch does.
    refuses(b"cbuiltins\nint\n(X\x01\0\0\0atR.", "which Brisk does not know");
    refuses(b"}(tR.", "it calls something that is no class or function");
    refuses(
        b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._tensor\n_rebuild_from_type_v2\nNNNtR.",
        "a tensor of a class of its own",
    );
}

/// What stands before the pickle of the format before: it ends with a dictionary of what the machine was like.
fn legacy_head() -> Vec<u8> {
    let golden = fs::read(golden("legacy.pt")).unwrap();
    let end = golden.windows(2).position(|w| w == b"u.").unwrap() + 2;
    golden[..end].to_vec()
}

#[test]
fn storages_are_as_long_as_they_are() {
    for (pickle, expected) in [
        (tensor("0", 5, 0, &[5], &[1]), "its storage \"0\" should have 20 bytes, and has 16"),
        (tensor("0", u64::MAX, 0, &[1], &[1]), "would have 18446744073709551615 elements"),
        (tensor("1", 4, 0, &[4], &[1]), "its storage \"1\" is missing"),
        (tensor("../../../etc/passwd", 4, 0, &[4], &[1]), "its storage \"../../../etc/passwd\" is missing"),
        (tensor("0", 4, 1, &[4], &[1]), "reaches out of its storage \"0\", which has 4 elements"),
        (tensor("0", 4, 0, &[2, 2], &[3, 1]), "reaches out of its storage"),
        (tensor("0", 4, u64::MAX, &[2], &[1]), "reaches out of its storage"),
        (tensor("0", 4, 0, &[2, 2], &[u64::MAX, u64::MAX]), "reaches out of its storage"),
        (tensor("0", 4, 0, &[u64::MAX, u64::MAX], &[1, 1]), "reaches out of its storage"),
        (tensor("0", 4, 0, &[1 << 40], &[1]), "reaches out of its storage"),
        (tensor("0", 4, 0, &[1_000_000_000], &[0]), "elements, which is too much"),
        (tensor("0", 4, 0, &[u64::MAX, 3], &[0, 0]), "which is too much"),
        (tensor("0", 4, 0, &[u64::MAX, u64::MAX, 0], &[1, 1, 1]), "which is too much"),
        (tensor("0", 4, 0, &[0, u64::MAX, u64::MAX], &[1, 1, 1]), "which is too much"),
        (tensor("0", 4, 0, &[2, 2], &[1]), "a tensor has 2 sizes and 1 strides"),
        (tensor("0", 4, 0, &[1; 65], &[1; 65]), "at most 64 axes"),
    ] {
        refuses(&pickle, expected);
    }
    // Sizes below 0.
    let pickle = tensor("0", 4, 0, &[2], &[1]);
    let negative = ints(&[2]);
    let at = pickle.windows(negative.len()).position(|w| w == negative).unwrap();
    let mut pickle = pickle;
    pickle[at + 11] = 0xff;
    refuses(&pickle, "whole numbers from 0");
}

#[test]
fn a_view_counts_as_often_as_it_is_named() {
    // 2^24 elements over one, and twice the bytes of the file: as many as there may be.
    let many = |shape: &[u64]| tensor("0", 4, 0, shape, &vec![0; shape.len()]);
    assert!(open(&many(&[1 << 24])).1.is_ok());
    refuses(&many(&[1 << 24, 2]), "which is too much");
    let named = |times: usize, size: u64| {
        let once = tensor("0", 4, 0, &[size], &[0]);
        let inner = &once[3 + text("w").len()..once.len() - 2];
        open(
            &[b"(".to_vec(), inner.to_vec(), b"q\x01".to_vec(), b"h\x01".repeat(times - 1), b"t.".to_vec()]
                .concat(),
        )
        .1
    };
    // Each name is read into memory of its own.
    assert_eq!(named(4, 1 << 22).unwrap().names().count(), 4);
    let error = named(5, 1 << 22).unwrap_err();
    assert!(error.contains("up to \"4\" of [4194304], have more than"), "{error}");
}

#[test]
fn what_is_short_builds_little() {
    // A list of 1000 numbers, and a list that holds it 1000 times.
    let numbers = [b"(".to_vec(), b"K\x07".repeat(1000), b"lq\x01".to_vec()].concat();
    let lists = [&numbers[..], b"(", &b"h\x01".repeat(1000), b"l."].concat();
    refuses(&lists, "its containers hold one another so often");
    // A dictionary made of the same pairs again and again.
    let pairs = [b"(".to_vec(), b"NN\x86".repeat(1000), b"lq\x01".to_vec()].concat();
    let dicts = b"ccollections\nOrderedDict\nh\x01\x85R0".repeat(1000);
    refuses(&[&pairs[..], &dicts, b"."].concat(), "values; save tensors, not lists of numbers");
    // A tensor of 64 axes, made again and again of the same sizes.
    let wide = tensor("0", 4, 0, &[1; 64], &[1; 64]);
    let value = &wide[3 + text("w").len()..wide.len() - 2];
    let call = value.iter().position(|&b| b == b'(').unwrap();
    let make = [&value[..call], b"q\x01", &value[call..value.len() - 1], b"q\x02R"].concat();
    let again = b"h\x01h\x02R0".repeat(3000);
    refuses(&[&make[..], &again, b"."].concat(), "values; save tensors, not lists of numbers");
}

#[test]
fn marks_that_change_numbers_are_refused() {
    let marked = |marks: &[u8]| {
        let plain = tensor("0", 4, 0, &[4], &[1]);
        let end = plain.len() - b"tRs.".len();
        open(&[&plain[..end], marks, &plain[end..]].concat()).1
    };
    let mark = |name: &str, value: &[u8]| [b"}".to_vec(), text(name), value.to_vec(), b"s".to_vec()].concat();
    assert!(marked(&mark("neg", b"\x89")).is_ok());
    assert!(marked(b"}").is_ok());
    for name in ["neg", "conj"] {
        let error = marked(&mark(name, b"\x88")).unwrap_err();
        assert!(error.contains(&format!("a tensor is marked as {name}")), "{error}");
    }
}

#[test]
fn depth_and_bombs_are_bounded() {
    // A million lists in one another, neither walked nor freed by recursion.
    let deep = [vec![b']'; 1_000_000], vec![b'a'; 999_999], b".".to_vec()].concat();
    refuses(&deep, "is nested in more than 64 containers");
    // Each list holds the one before twice: 2^60 values.
    let mut bomb = b"]q\x00".to_vec();
    (0..60).for_each(|_| bomb.extend(b"(h\x00h\x00lq\x00"));
    bomb.push(b'.');
    refuses(&bomb, "its containers hold one another so often");
    // A list in itself.
    refuses(b"]q\x00h\x00a.", "is nested in more than 64 containers");
    refuses(b"}q\x00X\x01\0\0\0ah\x00s.", "is nested in more than 64 containers");
    refuses(b"c__torch__\nA\n)\x81q\x00h\x00b.", "its containers hold one another so often");
    // More values than a checkpoint has.
    refuses(&[vec![b'}'; 5_000_000], b".".to_vec()].concat(), "it builds more than 4194304 values");
    refuses(&[b"N".to_vec(), vec![b'2'; 5_000_000], b".".to_vec()].concat(), "it builds more than");
    refuses(&[vec![b'('; 5_000_000], b".".to_vec()].concat(), "it builds more than");
    // One long text under many names.
    let long = text(&"x".repeat(1 << 20));
    let list = [b"(".to_vec(), long, b"q\x00".to_vec(), b"h\x00".repeat(1000), b"l.".to_vec()].concat();
    refuses(&list, "bytes with names and texts");
    // One long tuple as the arguments of many calls.
    let calls = b"ccollections\nOrderedDict\nh\x00R".repeat(10_000);
    refuses(
        &[b"(".to_vec(), vec![b'N'; 100_000], b"tq\x00".to_vec(), calls].concat(),
        "a tuple of some arguments",
    );
    // Messages stay short.
    let long =
        [text(&"x".repeat(1 << 20)), tensor("0", 4, 0, &[5], &[1])[3 + text("w").len()..].to_vec()].concat();
    let error = open(&[b"}".to_vec(), long].concat()).1.unwrap_err();
    assert!(error.contains("xxx\"... of [5]") && error.len() < 400, "{error}");
    // An array as long as the file, again and again.
    let dtype = b"cnumpy\ndtype\nX\x02\0\0\0u1\x85Rq\x01".to_vec();
    let bytes = [&b"B"[..], &100_000u32.to_le_bytes(), &[0; 100_000], b"q\x02"].concat();
    let array =
        b"cnumpy._core.numeric\n_frombuffer\n(h\x02h\x01J\xa0\x86\x01\0\x85X\x01\0\0\0CtR".repeat(100);
    refuses(&[dtype, bytes, array, b".".to_vec()].concat(), "its arrays of NumPy are longer than the file");
}

#[test]
fn lengths_that_lie_take_no_memory() {
    for pickle in [
        &b"X\xff\xff\xff\xff"[..],
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"B\xff\xff\xff\xff",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x96\xff\xff\xff\xff\xff\xff\xff\x0f",
        b"T\xff\xff\xff\x7f",
        b"cno end",
        b"]",
        b"",
    ] {
        refuses(pickle, "it ends too early");
    }
    refuses(b"\x8b\xff\xff\xff\x7f", "a whole number of 2147483647 bytes");
    refuses(b".", "it needs a value that it has not built");
    refuses(b"N(.", "it needs a value that it has not built");
    refuses(b"h\x07.", "it refers to value 7, which it has not built yet");
    refuses(b"e.", "it ends a list that it has not begun");
    refuses(b"}Na.", "it appends to something that is no list");
    refuses(b"](Nu.", "a key without a value");
    refuses(b"\x80\x09N.", "expected a pickle of protocol 0 to 5, found 9");
    refuses(b"\xff", "there is no instruction 0xff");
    refuses(b"X\x01\0\0\0\xff.", "a text that is no UTF-8");
    refuses(b"}(X\x01\0\0\0aK\x01X\x01\0\0\0aK\x02u.", "two of its values are called \"a\"");
}

#[test]
fn archives_are_as_pytorch_writes_them() {
    let refuses = |bytes: &[u8], expected: &str| {
        let error = open_bytes(bytes).1.unwrap_err();
        assert!(error.contains(expected), "expected {expected:?} in: {error}");
    };
    let good = tensor("0", 4, 0, &[4], &[1]);
    refuses(&archive(&[("a/data.txt", b"x")]), "a zip archive without a data.pkl");
    refuses(&archive(&[("data.pkl", &good)]), "a zip archive without a data.pkl");
    refuses(&archive(&[("../../a/data.pkl", &good)]), "a zip archive without a data.pkl");
    refuses(&archive(&[("a/model.json", b"{}")]), "a TorchScript archive of before PyTorch 1.4");
    refuses(&archive(&[("a/data.pkl", &good), ("b/data.pkl", &good)]), "it has two pickles");
    refuses(&archive(&[("a/data.pkl", &good), ("b/data/0", &[0; 16])]), "its storage \"0\" is missing");
    refuses(
        &archive(&[("a/data.pkl", &good), ("a/byteorder", b"middle")]),
        "little or big, found \"middle\"",
    );
    // An entry that would unpack to much more than it is. What is not needed may be packed.
    let mut packed = archive(&[("a/data.pkl", &good), ("a/data/0", &[0; 16])]);
    let method = |bytes: &mut Vec<u8>, name: &str| {
        let places: Vec<usize> =
            (0..bytes.len() - name.len()).filter(|&i| bytes[i..].starts_with(name.as_bytes())).collect();
        assert_eq!(places.len(), 2);
        bytes[places[0] - 22] = 8;
        bytes[places[1] - 36] = 8;
    };
    method(&mut packed, "a/data/0");
    refuses(&packed, "its entry \"a/data/0\" is packed or encrypted");
    let mut packed = archive(&[("a/data.pkl", b"N."), ("a/code/x.py", &[0; 16])]);
    method(&mut packed, "a/code/x.py");
    assert!(open_bytes(&packed).1.is_ok());
    // Names that would lead outside stay names.
    let evil = tensor("../../x", 4, 0, &[4], &[1]);
    let (_dir, file) = open_bytes(&archive(&[("a/data.pkl", &evil), ("a/data/../../x", &[0; 16])]));
    assert_eq!(file.unwrap().tensor("w").unwrap().elements(), 4);
    refuses(b"PK\x03\x04", "it is no sound zip archive");
    refuses(b"", "it is no file of PyTorch");
    refuses(b"\x89HDF\r\n\x1a\n", "it is no file of PyTorch");
    refuses(b"\x80\x02}q\x00.", "it is no file of PyTorch");
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    refuses(&tar, "a tar archive, as PyTorch before 0.1.10 wrote them");
}

#[test]
fn countless_entries_are_refused() {
    const ENTRIES: u64 = 600_000;
    let good = archive(&[("a/data.pkl", b"N.")]);
    let central = good.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    let end = good.windows(4).position(|w| w == b"PK\x05\x06").unwrap();
    let mut bytes = good[..central].to_vec();
    for i in 0..ENTRIES {
        let at = bytes.len();
        bytes.extend(&good[central..end]);
        bytes[at + 46..at + 56].copy_from_slice(format!("{i:010}").as_bytes());
    }
    // As there are more than 2^16, their number stands in the longer record before the end.
    let longer = bytes.len() as u64;
    let sizes = [ENTRIES, ENTRIES, longer - central as u64, central as u64];
    bytes.extend([&b"PK\x06\x06"[..], &44u64.to_le_bytes(), &[45, 0, 45, 0], &[0; 8]].concat());
    bytes.extend(sizes.iter().flat_map(|n| n.to_le_bytes()));
    bytes.extend([&b"PK\x06\x07\0\0\0\0"[..], &longer.to_le_bytes(), &[1, 0, 0, 0]].concat());
    bytes.extend([&b"PK\x05\x06\0\0\0\0"[..], &[0xff; 12], &[0; 2]].concat());
    let error = open_bytes(&bytes).1.unwrap_err();
    assert!(error.contains("it is no sound zip archive") && error.contains("too many entries"), "{error}");
}

#[test]
fn the_format_before_is_checked_too() {
    let good = fs::read(golden("legacy_protocol2.pt")).unwrap();
    let open = |bytes: &[u8]| open_bytes(bytes).1;
    assert!(open(&good).is_ok());
    let change = |from: &[u8], to: &[u8]| {
        let at = good.windows(from.len()).position(|w| w == from).unwrap();
        let mut bytes = good.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        open(&bytes).unwrap_err()
    };
    let error = change(b"M\xe9\x03.", b"M\xea\x03.");
    assert!(error.contains("expected version 1001"), "{error}");
    // The storage has 60 elements.
    let error = change(&60u64.to_le_bytes(), &61u64.to_le_bytes());
    assert!(error.contains("should have 240 bytes, and has 61 elements"), "{error}");
    let error = change(&60u64.to_le_bytes(), &u64::MAX.to_le_bytes());
    assert!(error.contains("should have 240 bytes"), "{error}");
}

/// All that can be read of some bytes: no panic, no error of the machine.
fn read_all(bytes: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    fs::write(&path, bytes).unwrap();
    match TorchFile::open(&path) {
        Err(error) => assert!(!error.is_io(), "{error}"),
        Ok(file) => {
            for name in file.names() {
                if let Err(error) = file.tensor(name) {
                    assert!(!error.is_io(), "{error}");
                }
            }
            let _ = file.state_dict(None).map(|s| s.names().count());
            assert!(file.values().all(|(_, v)| !matches!(v, TorchValue::Text(t) if t.len() > bytes.len())));
        }
    }
}

const GOLDENS: [&str; 8] = [
    "nested.pt",
    "views.pt",
    "dtypes.pt",
    "script.pt",
    "big.pt",
    "legacy.pt",
    "legacy_protocol0.pt",
    "legacy_protocol5.pt",
];

#[test]
fn files_that_are_cut_off_anywhere_are_refused() {
    for name in ["little.pt", "legacy_protocol2.pt"] {
        let good = fs::read(golden(name)).unwrap();
        for length in 0..good.len() {
            let (_dir, file) = open_bytes(&good[..length]);
            assert!(file.is_err(), "{name}, cut to {length} bytes");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_file_makes_it_panic(
        name in prop::sample::select(&GOLDENS[..]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let path: PathBuf = golden(name);
        read_all(&mutate(&fs::read(path).unwrap(), &changes, cut));
    }

    /// Changes where they hurt most: in the pickle alone.
    #[test]
    fn no_pickle_makes_it_panic(
        pickle in prop::collection::vec(
            prop_oneof![
                prop::sample::select(&b"(.012gNIKMJLGFSVUXTCB]})lt\x85\x86\x87daesucRiobQ\x80\x81\x88\x89\x8a\x8c\x8f\x90\x91\x92\x93\x94"[..])
                    .prop_map(|b| vec![b]),
                Just(b"h\x00".to_vec()), Just(b"q\x00".to_vec()), Just(b"K\x02".to_vec()),
                Just(text("storage")), Just(text("0")), Just(ints(&[2, 2])), Just(int(u64::MAX)),
                Just(tensor("0", 4, 0, &[2, 2], &[2, 1])[2..].to_vec()),
                Just(b"ccollections\nOrderedDict\n)R".to_vec()),
                Just(b"ctorch._utils\n_rebuild_parameter\n".to_vec()),
                Just(b"cnumpy\ndtype\nX\x02\0\0\0f4\x85R".to_vec()),
                Just(b"cnumpy.core.multiarray\n_reconstruct\n)R".to_vec()),
                Just(b"c__torch__\nA\n)\x81".to_vec()),
            ],
            0..40,
        ),
    ) {
        let bytes = [pickle.concat(), b".".to_vec()].concat();
        read_all(&archive(&[("a/data.pkl", &bytes), ("a/data/0", &[0; 16])]));
    }
}
