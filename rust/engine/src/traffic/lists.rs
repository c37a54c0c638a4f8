//! Lists and tables that many connections share, or that many connections have: their memory follows their length.

use std::collections::HashMap;
use std::hash::Hash;

/// A list with no more room than this is left as it is.
const SHORT: usize = 8;
/// The same for a table.
const SMALL: usize = 64;

/// Makes room for one more. A list of ten thousand that has doubled its memory at each growth wastes half of it.
pub fn grow<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact(1 + list.len() / 4);
    }
}

/// Gives memory back if less than a quarter of it is in use.
pub fn shrink<T>(list: &mut Vec<T>) {
    if list.capacity() > SHORT.max(4 * list.len()) {
        list.shrink_to(2 * list.len());
    }
}

/// Gives memory back if less than an eighth of it is in use.
pub fn shrink_table<K: Eq + Hash, V>(table: &mut HashMap<K, V>) {
    if table.capacity() > SMALL.max(8 * table.len()) {
        table.shrink_to(2 * table.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: usize = 10_000;

    /// Ten thousand subscribers take little more than their places, and are not moved for each that comes.
    #[test]
    fn a_list_that_grows_has_a_quarter_too_much_at_most() {
        let (mut list, mut moved) = (Vec::new(), 0);
        for length in 1..=MANY {
            let before = list.capacity();
            grow(&mut list);
            list.push(0u64);
            assert!(list.capacity() <= length + length / 4, "{length}");
            moved += usize::from(list.capacity() != before);
        }
        assert!(moved < 60, "{moved}");
    }

    /// Nor for each that goes; and a short list, that comes and goes with each subscription, is not moved at all.
    #[test]
    fn a_list_that_shrinks_keeps_four_times_what_it_needs_at_most() {
        let (mut list, mut moved) = (vec![0u64; MANY], 0);
        while list.pop().is_some() {
            let before = list.capacity();
            shrink(&mut list);
            assert!(list.capacity() <= SHORT.max(4 * list.len()));
            if list.capacity() != before {
                assert_eq!(list.capacity(), 2 * list.len(), "as many may come back");
                moved += 1;
            }
        }
        assert!(moved < 20, "{moved}");
        let mut short: Vec<u64> = Vec::with_capacity(SHORT);
        shrink(&mut short);
        assert_eq!(short.capacity(), SHORT);
        // A quarter is enough to be left.
        let mut list: Vec<u64> = Vec::with_capacity(40);
        list.extend([0; 10]);
        shrink(&mut list);
        assert_eq!(list.capacity(), 40);
        list.truncate(3);
        shrink(&mut list);
        assert_eq!(list.capacity(), 6);
    }

    /// What a table has is for its hashes to decide, up to a factor of two.
    #[test]
    fn a_table_that_shrinks_keeps_eight_times_what_it_needs_at_most() {
        let mut table: HashMap<usize, ()> = (0..MANY).map(|key| (key, ())).collect();
        let mut moved = 0;
        for key in 0..MANY {
            table.remove(&key);
            let before = table.capacity();
            shrink_table(&mut table);
            assert!(table.capacity() <= SMALL.max(8 * table.len()));
            if table.capacity() != before {
                let (capacity, length) = (table.capacity(), table.len());
                assert!(
                    (2 * length..=4 * length + 4).contains(&capacity),
                    "{length}"
                );
                moved += 1;
            }
        }
        assert!(moved < 12, "{moved}");
        let mut small: HashMap<usize, ()> = HashMap::with_capacity(SMALL / 2);
        let before = small.capacity();
        assert!((1..=SMALL).contains(&before));
        shrink_table(&mut small);
        assert_eq!(small.capacity(), before);
        let mut table: HashMap<usize, ()> = (0..MANY).map(|key| (key, ())).collect();
        table.retain(|&key, ()| key < 300);
        shrink_table(&mut table);
        assert!(
            (600..1200).contains(&table.capacity()),
            "as many may come back"
        );
        // An eighth is enough to be left.
        let mut table: HashMap<usize, ()> = HashMap::with_capacity(16 * SMALL);
        let before = table.capacity();
        table.extend((0..before / 8).map(|key| (key, ())));
        shrink_table(&mut table);
        assert_eq!(table.capacity(), before);
    }
}
