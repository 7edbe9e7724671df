//! From a row's value to the codes that stand for it, remembered between rows.

use std::sync::Arc;

use arrow::array::builder::make_view;
use arrow::array::{MAX_INLINE_VIEW_LEN, StringViewArray};
use hashbrown::HashMap;

use crate::segments::compile::program::{Key, Lookup};

/// Between the levels of a category path.
const LEVEL: &str = " > ";

/// Paths and lists that are remembered between rows; beyond, the memory begins anew.
const REMEMBERED: usize = 100_000;

/// The list of no codes.
pub(super) const NO_CODES: u32 = 0;

/// What a scan remembers of one key. Lists of codes have numbers: none, then one for each code alone, those of products, then those
/// that rows had.
#[derive(Debug, Clone)]
pub(super) struct Codes {
    lookup: Lookup,
    by_value: HashMap<String, u32>,
    lists: Vec<Vec<u32>>,
    /// How many lists there were before the first row.
    fixed: usize,
    products: Arc<ByProduct>,
    /// Codes, where they are several → their list.
    by_codes: HashMap<Vec<u32>, u32>,
    /// Path → its list.
    paths: HashMap<String, u32>,
    seen: Seen,
    /// The codes that are being gathered.
    gathered: Vec<u32>,
    /// How many codes the lists of several have together.
    codes_held: usize,
}

/// The lists of products: by the views of short ids, which hold all of them, and by long ids.
#[derive(Debug, Default)]
struct ByProduct {
    by_view: HashMap<u128, u32>,
    by_id: HashMap<String, u32>,
}

impl Codes {
    pub(super) fn new(key: &Key) -> Self {
        let number = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        let by_value = key.values.iter().enumerate().map(|(place, value)| (value.clone(), number(place))).collect();
        let alone = (0..key.values.len()).map(|place| vec![number(place)]);
        let mut codes = Self {
            lookup: key.lookup,
            by_value,
            lists: std::iter::once(Vec::new()).chain(alone).collect(),
            fixed: 0,
            products: Arc::default(),
            by_codes: HashMap::new(),
            paths: HashMap::new(),
            seen: Seen::default(),
            gathered: Vec::new(),
            codes_held: 0,
        };
        let mut products = ByProduct::default();
        for (id, of_product) in &key.products {
            codes.gathered.clone_from(of_product);
            let list = codes.gathered_list();
            let view = make_view(id.as_bytes(), 0, 0);
            if is_short(view) {
                products.by_view.insert(view, list);
            } else {
                products.by_id.insert(id.clone(), list);
            }
        }
        codes.products = Arc::new(products);
        codes.fixed = codes.lists.len();
        codes
    }

    /// Goes on with another batch. Whether the numbers of lists of several codes have begun anew.
    pub(super) fn begin_batch(&mut self) -> bool {
        self.seen.begin_batch();
        if self.lists.len().max(self.paths.len()) <= REMEMBERED + self.fixed {
            return false;
        }
        let fixed = self.fixed;
        self.lists.truncate(fixed);
        self.by_codes.retain(|_, list| (*list as usize) < fixed);
        self.paths.clear();
        self.codes_held = self.by_codes.keys().map(Vec::len).sum();
        self.seen.slots.clear();
        true
    }

    /// The codes of a list.
    pub(super) fn list(&self, list: usize) -> &[u32] {
        self.lists.get(list).map(Vec::as_slice).unwrap_or_default()
    }

    /// The list of a text's codes.
    pub(super) fn of_text(&mut self, texts: &StringViewArray, row: usize) -> u32 {
        let view = texts.views().get(row).copied().unwrap_or_default();
        self.of_view(view, || texts.value(row))
    }

    /// The list of the codes of the text that a view of the batch stands for.
    #[inline]
    pub(super) fn of_view<'a>(&mut self, view: u128, text: impl FnOnce() -> &'a str) -> u32 {
        if let Some(list) = self.seen.find(view) {
            return list;
        }
        let list = self.of_new_text(text());
        self.seen.note(view, list);
        list
    }

    fn of_new_text(&mut self, text: &str) -> u32 {
        if self.lookup == Lookup::Exact {
            return self.by_value.get(text).map_or(NO_CODES, |code| code + 1);
        }
        if let Some(list) = self.paths.get(text) {
            return *list;
        }
        self.gathered.clear();
        let prefixes = text.match_indices(LEVEL).map(|(at, _)| text.get(..at).unwrap_or(text)).chain([text]);
        self.gathered.extend(prefixes.filter_map(|prefix| self.by_value.get(prefix).copied()));
        let list = self.gathered_list();
        self.paths.insert(text.to_owned(), list);
        list
    }

    /// The list of a product's codes.
    pub(super) fn of_product(&self, ids: &StringViewArray, row: usize) -> u32 {
        let view = ids.views().get(row).copied().unwrap_or_default();
        let list =
            if is_short(view) { self.products.by_view.get(&view) } else { self.products.by_id.get(ids.value(row)) };
        list.copied().unwrap_or(NO_CODES)
    }

    /// The list of the codes of a list's elements.
    pub(super) fn of_elements(&mut self, elements: &StringViewArray, places: impl Iterator<Item = usize>) -> u32 {
        self.gathered.clear();
        for place in places {
            let view = elements.views().get(place).copied().unwrap_or_default();
            let list = self.seen.find(view).unwrap_or_else(|| {
                let list = self.of_element(elements.value(place));
                self.seen.note(view, list);
                list
            });
            self.gathered.extend(list.checked_sub(1));
        }
        self.gathered_list()
    }

    /// The list of an element's code alone.
    fn of_element(&self, element: &str) -> u32 {
        // An element as landed may be in capitals that the value asked for has not.
        let may_differ = || !element.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
        let code = match self.by_value.get(element) {
            None if may_differ() => self.by_value.get(&element.to_lowercase()),
            known => known,
        };
        code.map_or(NO_CODES, |code| code + 1)
    }

    /// The list of what was gathered.
    fn gathered_list(&mut self) -> u32 {
        self.gathered.sort_unstable();
        self.gathered.dedup();
        match self.gathered.as_slice() {
            [] => NO_CODES,
            [code] => code + 1,
            codes => {
                if let Some(list) = self.by_codes.get(codes) {
                    return *list;
                }
                let list = u32::try_from(self.lists.len()).unwrap_or(NO_CODES);
                self.lists.push(codes.to_vec());
                self.codes_held += codes.len();
                self.by_codes.insert(codes.to_vec(), list);
                list
            }
        }
    }

    /// Bytes held, but for the products, which all scans share.
    pub(super) fn bytes(&self) -> usize {
        let lists = (self.lists.len() + self.by_codes.len()) * 48 + 2 * self.codes_held * size_of::<u32>();
        lists + self.paths.len() * 96 + self.seen.bytes()
    }
}

/// Texts that were looked up a moment ago, by their views. A short text is its view; a long one's view says where it lies, and
/// the next batch's texts lie elsewhere. Columns with few values mostly have few views: their pages have dictionaries.
#[derive(Debug, Default, Clone)]
struct Seen {
    slots: Vec<Slot>,
    batch: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    view: u128,
    list: u32,
    /// The batch, from 1.
    batch: u32,
}

/// Texts that are remembered by their views.
const SLOTS: usize = 1 << 11;
/// Whether a text is its view.
pub(super) fn is_short(view: u128) -> bool {
    view as u32 <= MAX_INLINE_VIEW_LEN
}

impl Seen {
    /// Goes on with texts that lie elsewhere.
    fn begin_batch(&mut self) {
        self.batch = self.batch.wrapping_add(1);
        if self.batch == 0 {
            self.slots.clear();
            self.batch = 1;
        }
    }

    fn place(view: u128) -> usize {
        let mixed = ((view >> 64) as u64 ^ view as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> 53) as usize % SLOTS
    }

    /// What was noted of a text.
    #[inline]
    fn find(&self, view: u128) -> Option<u32> {
        let slot = self.slots.get(Self::place(view))?;
        let holds = slot.view == view && (slot.batch == self.batch || slot.batch > 0 && is_short(view));
        holds.then_some(slot.list)
    }

    /// Notes something of a text.
    fn note(&mut self, view: u128, list: u32) {
        if self.slots.is_empty() {
            self.slots.resize(SLOTS, Slot::default());
        }
        if let Some(slot) = self.slots.get_mut(Self::place(view)) {
            *slot = Slot { view, list, batch: self.batch };
        }
    }

    fn bytes(&self) -> usize {
        self.slots.len() * size_of::<Slot>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segments::compile::program::Owner;

    fn codes(lookup: Lookup, values: &[&str]) -> Codes {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Codes::new(&Key { lookup, owner: Owner::Row, values, products: Vec::new() })
    }

    fn looked_up<'a>(codes: &'a mut Codes, texts: &StringViewArray, row: usize) -> &'a [u32] {
        let list = codes.of_text(texts, row);
        codes.list(list as usize)
    }

    #[test]
    fn texts_of_other_batches_lie_elsewhere() {
        let mut codes = codes(Lookup::Exact, &["a long value, one", "a long value, two", "short"]);
        for (text, code) in [("a long value, one", 0), ("a long value, two", 1), ("a long value, one", 0)] {
            codes.begin_batch();
            // Both have the same length, the same beginning and the same place in the buffer: the same view.
            let texts = StringViewArray::from(vec![text, "short", text, "of no code"]);
            for row in [0, 2, 0] {
                assert_eq!(looked_up(&mut codes, &texts, row), [code], "{text}");
            }
            assert_eq!(looked_up(&mut codes, &texts, 1), [2]);
            assert_eq!(looked_up(&mut codes, &texts, 3), [0; 0]);
        }
    }

    #[test]
    fn more_paths_than_are_remembered_begin_anew() {
        let mut codes = codes(Lookup::Path, &["Men", "Men > Shoes", "Women"]);
        let mut begun = 0;
        for batch in 0..30 {
            begun += usize::from(codes.begin_batch());
            let paths: Vec<String> = (0..10_000).map(|path| format!("Men > Shoes > {batch} of {path}")).collect();
            let texts = StringViewArray::from_iter_values(paths.iter().map(String::as_str).chain(["Women", "Kids"]));
            for row in 0..paths.len() {
                assert_eq!(looked_up(&mut codes, &texts, row), [0, 1]);
            }
            assert_eq!(looked_up(&mut codes, &texts, paths.len()), [2]);
            assert_eq!(looked_up(&mut codes, &texts, paths.len() + 1), [0; 0]);
            assert!(codes.paths.len() <= REMEMBERED + 3 + 10_002, "memory stays within a batch of its limit");
        }
        assert_eq!(begun, 2);
    }

    #[test]
    fn products_keep_their_codes_when_paths_begin_anew() {
        let values = ["Men", "Men > Shoes", "Women"].map(str::to_owned).to_vec();
        let long = "a product with a long id";
        let products = [("p1", vec![0, 1]), (long, vec![0, 1]), ("p2", vec![2])];
        let products = products.map(|(id, codes)| (id.to_owned(), codes)).to_vec();
        let owner = Owner::RowOrProduct;
        let mut codes = Codes::new(&Key { lookup: Lookup::Path, owner, values, products });
        let ids = StringViewArray::from(vec!["p1", long, "p2", "p3", "a product with a long name"]);
        let mut begun = 0;
        for batch in 0..12 {
            begun += usize::from(codes.begin_batch());
            let own = [0, 1, 2, 3, 4].map(|row| codes.of_product(&ids, row));
            assert_eq!(own.map(|list| codes.list(list as usize).len()), [2, 2, 1, 0, 0]);
            assert_eq!((own[0], codes.list(own[2] as usize)), (own[1], [2].as_slice()));
            let paths: Vec<String> = (0..10_000).map(|path| format!("Men > Shoes > {batch} of {path}")).collect();
            let texts = StringViewArray::from_iter_values(&paths);
            let alike = (0..paths.len()).all(|row| codes.of_text(&texts, row) == own[0]);
            assert!(alike, "what has the same codes has the same list, a row's own value or its product's");
        }
        assert_eq!(begun, 1);
    }

    #[test]
    fn lists_are_known_by_their_elements_in_any_order() {
        let mut codes = codes(Lookup::Elements, &["eco", "sale", "årstid"]);
        let elements = StringViewArray::from(vec!["sale", "eco", "eco", "SALE", "Årstid", "other"]);
        let mut of = |places: &[usize]| {
            let list = codes.of_elements(&elements, places.iter().copied());
            (list, codes.list(list as usize).to_vec())
        };
        let both = of(&[0, 1]);
        assert_eq!(both.1, [0, 1]);
        assert_eq!(of(&[2, 5, 3, 1]), both, "twice, in capitals and beside others");
        assert_eq!(of(&[4]).1, [2]);
        assert_eq!(of(&[5]), (NO_CODES, Vec::new()));
        assert_eq!(of(&[]), (NO_CODES, Vec::new()));
    }
}
