//! Vectors read from tables.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use polars::prelude::*;
use stakeout_detect::DetectError;
use stakeout_detect::baseline::{TableSpec, read_table};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn text(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn parquet(&self, name: &str, mut frame: DataFrame) -> PathBuf {
        let path = self.0.path().join(name);
        ParquetWriter::new(File::create(&path).unwrap()).finish(&mut frame).unwrap();
        path
    }
}

fn spec() -> TableSpec {
    TableSpec { host: Some("host".into()), label: Some("y".into()), ..TableSpec::default() }
}

fn refused(path: &Path, spec: &TableSpec) -> String {
    read_table(path, spec).unwrap_err().to_string()
}

const TABLE: &str = "host,part,a,b,y\npi-3,train,1,0.5,0\npi-4,train,2,,1\npi-3,test,3,1e300,-1\npi-3,train,4,2.5,\n";

#[test]
fn columns_hosts_labels_and_conditions() {
    let folder = Folder::new();
    let path = folder.text("t.csv", TABLE);
    let vectors = read_table(&path, &TableSpec { only: vec![("part".into(), "train".into())], ..spec() }).unwrap();
    assert_eq!(vectors.columns, ["a", "b"]);
    let own = &vectors.hosts["pi-3"];
    assert_eq!((own.rows.as_slice(), own.labels.as_slice()), ([0, 3].as_slice(), [Some(false), None].as_slice()));
    assert_eq!((own.vector(0), own.vector(1)), ([1.0, 0.5].as_slice(), [4.0, 2.5].as_slice()));
    assert_eq!(own.concat(|at| at == 1), [4.0, 2.5]);
    let other = &vectors.hosts["pi-4"];
    assert!(other.vector(0)[1].is_nan() && other.labels == [Some(true)]);
    // Named columns, in the order in which they were learnt.
    let columns = Some(vec!["b".into(), "a".into()]);
    let only = vec![("a".into(), "3".into())];
    let vectors = read_table(&path, &TableSpec { columns, only, ..spec() }).unwrap();
    assert_eq!(vectors.hosts["pi-3"].vector(0), [1e300, 3.0]);
    // Without a host all rows are of one.
    let ignore = vec!["host".into(), "part".into(), "y".into()];
    let all = read_table(&path, &TableSpec { ignore, ..TableSpec::default() }).unwrap();
    assert_eq!(all.hosts[""].len(), 4);
    assert_eq!(all.hosts[""].labels, [None; 4]);
}

/// What other programs write for no value and for one without bound, in a file without types.
#[test]
fn words_for_numbers_are_numbers_in_a_text_file_alone() {
    let folder = Folder::new();
    let path = folder.text("n.csv", "host,a,b\nx,nan,1\nx,NaN,inf\nx,2.5,-Infinity\nx,,4\n");
    let spec = TableSpec { host: Some("host".into()), ..TableSpec::default() };
    let own = &read_table(&path, &spec).unwrap().hosts["x"];
    assert!(own.vector(0)[0].is_nan() && own.vector(1)[0].is_nan() && own.vector(3)[0].is_nan());
    assert_eq!(
        (own.vector(2), own.vector(1)[1], own.vector(3)[1]),
        ([2.5, -f64::INFINITY].as_slice(), f64::INFINITY, 4.0)
    );
    let typed = folder.parquet("n.parquet", df!("host" => ["x"], "a" => ["1"]).unwrap());
    assert!(refused(&typed, &spec).contains("holds str"));
}

#[test]
fn embeddings_are_a_column_of_lists() {
    let folder = Folder::new();
    let list = |values: &[f32]| Some(Series::new("".into(), values));
    let mut lists = Series::new("embedding".into(), [list(&[1.0, 2.0]), None, list(&[3.0]), list(&[4.0, 5.0])]);
    lists.rename("embedding".into());
    let hosts = Column::new("host".into(), ["a", "a", "a", "b"]);
    let path = folder.parquet("e.parquet", DataFrame::new(4, vec![hosts, lists.into()]).unwrap());
    let spec = TableSpec { host: Some("host".into()), ..TableSpec::default() };
    let vectors = read_table(&path, &spec).unwrap();
    assert_eq!(vectors.columns, ["embedding[0]", "embedding[1]"]);
    let own = &vectors.hosts["a"];
    assert_eq!((own.vector(0), own.vector(1), own.vector(2)), ([1.0, 2.0].as_slice(), [].as_slice(), [3.0].as_slice()));
    // As a stored baseline names them.
    let again = read_table(&path, &TableSpec { columns: Some(vectors.columns.clone()), ..spec }).unwrap();
    assert_eq!(again, vectors);
}

#[test]
fn what_is_no_table_of_vectors_is_an_error_that_names_it() {
    let folder = Folder::new();
    let path = folder.text("t.csv", TABLE);
    assert!(
        refused(&path, &TableSpec { host: Some("device".into()), ..spec() })
            .contains("no column `device`: it has host, part")
    );
    assert!(
        refused(&path, &spec()).contains("column `part` holds str, a dimension needs numbers: name it as the host")
    );
    assert!(refused(&path, &TableSpec { label: Some("part".into()), ..spec() }).contains("a label needs numbers"));
    let ignore: Vec<String> = ["part", "a", "b"].map(Into::into).to_vec();
    assert!(refused(&path, &TableSpec { ignore, ..spec() }).contains("no column is left"));
    // what was to be ignored would have been a dimension
    let ignore = vec!["parrt".to_owned()];
    assert!(refused(&path, &TableSpec { ignore, ..spec() }).contains("there is no column `parrt`"));
    let holes = folder.text("h.csv", "host,a,y\n,1,0\n");
    assert!(refused(&holes, &spec()).contains("row 1 has no host"));
    assert!(refused(&folder.text("t.txt", TABLE), &spec()).contains("neither parquet nor named .csv"));
    assert!(matches!(read_table(&folder.0.path().join("no.csv"), &spec()), Err(DetectError::Io { .. })));
    assert!(read_table(folder.0.path(), &spec()).is_err());
    assert!(read_table(&folder.text("empty.csv", ""), &spec()).is_err());
    assert!(refused(&folder.text("head.csv", "host,a,y\n"), &spec()).contains("it has no rows"));
    let long = format!("host,{},y\na,1,0\n", "c".repeat(10_000_000));
    let long = refused(&folder.text("long.csv", &long), &spec());
    assert!(long.contains("is named in 10000000 bytes") && long.len() < 300, "{long}");
    let words = Column::new("e".into(), [Series::new("".into(), ["a", "b"])]);
    let words = folder.parquet("words.parquet", DataFrame::new(1, vec![words]).unwrap());
    assert!(refused(&words, &TableSpec::default()).contains("column `e` holds lists of str, a vector needs numbers"));
    let damaged = folder.text("d.parquet", "PAR1 and no more");
    assert!(refused(&damaged, &spec()).contains("d.parquet"));
    // Cut anywhere, a table is an error or an honest part, never a panic.
    let whole = folder.parquet("w.parquet", df!("host" => ["a", "b"], "x" => [1.0, 2.0], "y" => [0, 1]).unwrap());
    let bytes = fs::read(&whole).unwrap();
    for cut in (0..bytes.len()).step_by(7) {
        let part = folder.0.path().join("part.parquet");
        fs::write(&part, &bytes[..cut]).unwrap();
        assert!(read_table(&part, &spec()).is_err(), "{cut}");
    }
}
