//! Every kind of source, from detection to batches.

use std::path::Path;

use brisk_data::{
    Augmentation, Dataset, FileSpec, Kind, Loader, LoaderOptions, Normalization, OpenOptions, Preprocessing,
    RandomCrop, SourceSpec, SplitSpec, open,
};
use tempfile::tempdir;

use crate::{cifar, idx, png, write};

fn open_at(path: &Path) -> Dataset {
    open(&SourceSpec::from(path), &OpenOptions::default()).unwrap()
}

#[test]
fn the_sample_trains_a_whole_epoch() {
    let data = open(&SourceSpec::default(), &OpenOptions::default()).unwrap();
    assert_eq!(data.classes()[9], "Ankle boot");
    assert_eq!(data.train().label(0), 9, "the first image of Fashion-MNIST is a boot");
    let parts = data.split(&SplitSpec { validation: Some(0.1), seed: 42, ..SplitSpec::default() }).unwrap();
    assert_eq!(parts.train.counts(), [540; 10]);
    assert_eq!(parts.validation.unwrap().counts(), [60; 10]);
    assert_eq!(parts.test.unwrap().len(), 1000);
    let p = Preprocessing::fit(Normalization::Standardize, &parts.train).unwrap();
    assert!((p.mean[0] - 0.286).abs() < 0.01 && (p.std[0] - 0.353).abs() < 0.01, "{p:?}");
    let augmentation = Augmentation {
        horizontal_flip: true,
        random_crop: Some(RandomCrop { padding: 2 }),
        ..Augmentation::default()
    };
    let loader =
        Loader::new(parts.train, LoaderOptions { workers: 2, augmentation, ..Default::default() }).unwrap();
    let mut samples = 0;
    for batch in loader.epoch(0) {
        let batch = batch.unwrap();
        samples += batch.indices.len();
        assert_eq!(batch.get("x").unwrap().u8s().unwrap().len(), batch.indices.len() * 784);
    }
    assert_eq!(samples, 5400);
}

#[test]
fn an_idx_folder_with_names_beside() {
    let dir = tempdir().unwrap();
    let at = |n: &str| dir.path().join(n);
    for part in ["train", "t10k"] {
        write(&at(&format!("{part}-images-idx3-ubyte")), &idx(&[2, 1, 2], &[1, 2, 3, 4]));
        write(&at(&format!("{part}-labels.idx1-ubyte")), &idx(&[2], &[1, 0]));
    }
    assert_eq!(open_at(dir.path()).classes(), ["0", "1"]);
    write(&at("labels.txt"), b"cat\ndog\n");
    let data = open_at(dir.path());
    assert_eq!(data.classes(), ["cat", "dog"]);
    assert_eq!((data.train().len(), data.test().unwrap().image(1).unwrap()), (2, vec![3, 4]));
    assert_eq!(data.image_spec().to_string(), "1x2x1");
}

#[test]
fn cifar_10_unpacked_as_its_archive_does() {
    let dir = tempdir().unwrap();
    let at = |n: &str| dir.path().join("cifar-10-batches-bin").join(n);
    write(&at("data_batch_1.bin"), &cifar(&[0, 1, 2, 3, 4]));
    write(&at("data_batch_2.bin"), &cifar(&[5, 6, 7, 8, 9]));
    write(&at("test_batch.bin"), &cifar(&[3]));
    let data = open_at(dir.path());
    assert_eq!((data.classes()[3].as_str(), data.train().len()), ("cat", 10));
    assert_eq!(data.test().unwrap().image(0).unwrap(), [3; 3072]);
    write(&at("batches.meta.txt"), b"a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n");
    assert_eq!(open_at(dir.path()).classes()[3], "d");
    let grey = OpenOptions { size: Some([16, 8]), channels: Some(1), ..OpenOptions::default() };
    let data = open(&SourceSpec::from(dir.path()), &grey).unwrap();
    assert_eq!(data.train().image(7).unwrap(), [7; 128]);
}

#[test]
fn cifar_100_fine_and_coarse() {
    let dir = tempdir().unwrap();
    let records: Vec<u8> = (0..100u8).flat_map(|i| [&[i % 20, i][..], &[i; 3072]].concat()).collect();
    write(&dir.path().join("train.bin"), &records);
    write(
        &dir.path().join("fine_label_names.txt"),
        (0..100).map(|i| format!("c{i}\n")).collect::<String>().as_bytes(),
    );
    let data = open_at(dir.path());
    assert_eq!((data.classes().len(), data.train().label(55), data.classes()[55].as_str()), (100, 55, "c55"));
    let coarse = FileSpec { coarse: true, ..FileSpec::at(dir.path()) };
    let data = open(&coarse.into(), &OpenOptions::default()).unwrap();
    assert_eq!((data.classes().len(), data.train().label(55)), (20, 15));
}

#[test]
fn an_image_folder_divided_or_not() {
    let dir = tempdir().unwrap();
    let at = |n: &str| dir.path().join(n);
    write(&at("flat/cat/1.png"), &png(1));
    write(&at("flat/dog/2.png"), &png(2));
    let data = open_at(&at("flat"));
    assert_eq!((data.classes(), data.train().len()), (&["cat".to_string(), "dog".into()][..], 2));
    assert!(data.test().is_none());
    for (i, part) in ["train", "val", "test"].into_iter().enumerate() {
        write(&at(&format!("divided/{part}/cat/1.png")), &png(10 * i as u8));
        write(&at(&format!("divided/{part}/dog/2.png")), &png(10 * i as u8 + 1));
    }
    let data = open_at(&at("divided"));
    assert_eq!(data.parts().len(), 3);
    assert_eq!(data.test().unwrap().image(1).unwrap()[0], 21);
    // A second folder as the test part, whose only class is the second of the first.
    write(&at("more/dog/3.png"), &png(3));
    let spec = FileSpec { kind: Some(Kind::Folder), test: Some(at("more")), ..FileSpec::at(at("flat")) };
    let data =
        open(&spec.into(), &OpenOptions { checks: brisk_data::Checks::Evaluation, ..Default::default() })
            .unwrap();
    assert_eq!(data.test().unwrap().label(0), 1);
}

#[test]
fn a_csv_of_relative_paths() {
    let dir = tempdir().unwrap();
    let at = |n: &str| dir.path().join(n);
    write(&at("images/a.png"), &png(1));
    write(&at("images/b.png"), &png(2));
    let text = "file,animal,split\nimages/a.png,cat,train\nimages/b.png,dog,train\nimages/b.png,dog,test\n";
    write(&at("list.csv"), text.as_bytes());
    let spec = FileSpec {
        path_column: Some("file".into()),
        label_column: Some("animal".into()),
        ..FileSpec::at(at("list.csv"))
    };
    let data = open(&spec.into(), &OpenOptions::default()).unwrap();
    assert_eq!((data.train().len(), data.test().unwrap().label(0)), (2, 1));
    assert_eq!(data.train().image(1).unwrap()[0], 2);
}
