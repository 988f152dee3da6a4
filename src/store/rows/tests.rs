//! Looking at rows, beside an ordered map in memory.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::testing::Memory;
use super::*;

/// Short keys of few letters, so that ranges and rows meet.
fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(0..4_u8, 0..4)
}

fn row() -> impl Strategy<Value = (Vec<u8>, Option<Vec<u8>>)> {
    (key(), prop::option::weighted(0.8, vec(any::<u8>(), 0..20)))
}

prop_compose! {
    fn look()(
        from in key(), until in key(), backwards: bool, rows_max in 0..12_usize, bytes_max in 0..200_usize, token: u64,
    ) -> Look {
        Look { token, from: from.into(), until: until.into(), backwards, rows_max, bytes_max }
    }
}

/// A key and its value.
type Pair = (Vec<u8>, Vec<u8>);

/// What a look has to find, by its words alone.
fn expected(map: &BTreeMap<Vec<u8>, Vec<u8>>, look: &Look) -> (Vec<Pair>, bool) {
    let mut range: Vec<_> = map.clone().into_iter().collect();
    range.retain(|(key, _)| look.from <= key[..] && key[..] < look.until);
    if look.backwards {
        range.reverse();
    }
    let bytes =
        |count: usize| range[..count].iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
    let mut count = range.len().min(1);
    while count < range.len() && count < look.rows_max && bytes(count + 1) <= look.bytes_max {
        count += 1;
    }
    (range[..count].to_vec(), count < range.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_look_finds_what_an_ordered_map_holds(changes in vec(vec(row(), 0..12), 0..4), looks in vec(look(), 1..12)) {
        let Opening::Sound(mut rows) = Rows::open(Memory::default()).expect("memory") else { panic!("it is empty") };
        let mut map = BTreeMap::new();
        for (index, change) in (1..).zip(&changes) {
            let change: BTreeMap<_, _> = change.iter().cloned().collect();
            for (key, value) in &change {
                match value {
                    Some(value) => drop(map.insert(key.clone(), value.clone())),
                    None => drop(map.remove(key)),
                }
            }
            let row = |(key, value): (Vec<u8>, Option<Vec<u8>>)| Row { key: key.into(), value: value.map(Bytes::from) };
            let change: Vec<Row> = change.into_iter().map(row).collect();
            let applied = Applied { index: Index(index), ..Applied::default() };
            rows.apply(&applied, &change).expect("memory");
        }
        for look in &looks {
            let looked = rows.look(look).expect("memory");
            let found: Vec<_> = looked
                .rows
                .iter()
                .map(|row| (row.key.to_vec(), row.value.as_ref().expect("a value").to_vec()))
                .collect();
            prop_assert_eq!((looked.token, (found, looked.more)), (look.token, expected(&map, look)));
        }
    }
}
