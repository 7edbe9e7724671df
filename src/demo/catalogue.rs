//! What the shop sells: a few thousand products on shelves, some of them far more popular than others.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// A kind of goods: the path of its category, a typical price in euro, how much of the shop's sales it is, and whether
/// people order it again and again.
pub(super) struct Kind {
    pub(super) category: &'static str,
    pub(super) slug: &'static str,
    nouns: [&'static str; 3],
    price: f64,
    weight: f64,
    pub(super) replenished: bool,
}

const fn kind(
    category: &'static str,
    slug: &'static str,
    nouns: [&'static str; 3],
    price: f64,
    weight: f64,
    replenished: bool,
) -> Kind {
    Kind { category, slug, nouns, price, weight, replenished }
}

/// Every kind of goods. The first 7 are for women, the next 7 for men.
pub(super) const KINDS: [Kind; 25] = [
    kind(
        "Women > Shoes > Running",
        "/women/shoes/running",
        ["Trail Runner", "Road Runner", "Racer"],
        110.0,
        6.0,
        false,
    ),
    kind("Women > Shoes > Boots", "/women/shoes/boots", ["Ankle Boot", "Chelsea Boot", "Rain Boot"], 130.0, 5.0, false),
    kind(
        "Women > Clothing > Dresses",
        "/women/clothing/dresses",
        ["Wrap Dress", "Midi Dress", "Shirt Dress"],
        75.0,
        8.0,
        false,
    ),
    kind("Women > Clothing > Knitwear", "/women/clothing/knitwear", ["Cardigan", "Jumper", "Poncho"], 65.0, 7.0, false),
    kind(
        "Women > Clothing > Jackets",
        "/women/clothing/jackets",
        ["Parka", "Blazer", "Rain Jacket"],
        140.0,
        5.0,
        false,
    ),
    kind("Women > Accessories > Bags", "/women/accessories/bags", ["Tote", "Backpack", "Clutch"], 60.0, 4.0, false),
    kind(
        "Women > Accessories > Sunglasses",
        "/women/accessories/sunglasses",
        ["Round Shades", "Cat Eye", "Aviator"],
        45.0,
        2.0,
        false,
    ),
    kind("Men > Shoes > Running", "/men/shoes/running", ["Trail Runner", "Road Runner", "Racer"], 115.0, 5.0, false),
    kind("Men > Shoes > Sneakers", "/men/shoes/sneakers", ["Court Low", "Canvas High", "Slip-on"], 90.0, 6.0, false),
    kind(
        "Men > Clothing > Shirts",
        "/men/clothing/shirts",
        ["Oxford Shirt", "Linen Shirt", "Flannel"],
        55.0,
        6.0,
        false,
    ),
    kind("Men > Clothing > Jeans", "/men/clothing/jeans", ["Slim Jean", "Straight Jean", "Chino"], 80.0, 5.0, false),
    kind(
        "Men > Clothing > Jackets",
        "/men/clothing/jackets",
        ["Bomber", "Down Jacket", "Overshirt"],
        150.0,
        4.0,
        false,
    ),
    kind(
        "Men > Accessories > Watches",
        "/men/accessories/watches",
        ["Diver", "Field Watch", "Chronograph"],
        220.0,
        1.5,
        false,
    ),
    kind(
        "Men > Accessories > Sunglasses",
        "/men/accessories/sunglasses",
        ["Wayfarer", "Aviator", "Clubmaster"],
        45.0,
        2.0,
        false,
    ),
    kind(
        "Kids > Shoes > Sneakers",
        "/kids/shoes/sneakers",
        ["Velcro Low", "Light-up Runner", "Canvas"],
        45.0,
        4.0,
        false,
    ),
    kind(
        "Kids > Clothing > Outerwear",
        "/kids/clothing/outerwear",
        ["Snowsuit", "Rain Set", "Fleece"],
        60.0,
        4.0,
        false,
    ),
    kind("Kids > Toys > Outdoor", "/kids/toys/outdoor", ["Kite", "Scooter", "Bucket, Spade & Rake"], 25.0, 3.0, false),
    kind(
        "Home > Kitchen > Cookware",
        "/home/kitchen/cookware",
        ["Cast-iron Pan", "Saucepan", "12\" Wok"],
        70.0,
        4.0,
        false,
    ),
    kind("Home > Living > Candles", "/home/living/candles", ["Candle, large", "Tealights", "Lantern"], 18.0, 6.0, true),
    kind("Home > Living > Textiles", "/home/living/textiles", ["Throw", "Cushion", "Curtain"], 40.0, 4.0, false),
    kind("Sport > Fitness > Yoga", "/sport/fitness/yoga", ["Mat", "Block", "Strap"], 35.0, 3.0, false),
    kind(
        "Sport > Outdoor > Tents",
        "/sport/outdoor/tents",
        ["2-person Tent", "Tarp", "Family Tent"],
        260.0,
        1.0,
        false,
    ),
    kind(
        "Beauty > Skin > Serums",
        "/beauty/skin/serums",
        ["Night Serum", "Vitamin C Serum", "Face Oil"],
        32.0,
        5.0,
        true,
    ),
    kind(
        "Beauty > Hair > Shampoo",
        "/beauty/hair/shampoo",
        ["Mild Shampoo", "Repair Shampoo", "Conditioner"],
        14.0,
        5.0,
        true,
    ),
    kind("Gift cards", "/gift-cards", ["Gift Card 25", "Gift Card 50", "Gift Card 100"], 50.0, 1.5, false),
];

const BRANDS: [&str; 12] = [
    "Nordvik",
    "Halden & Co",
    "Brimsø",
    "Askeby",
    "Lumerra",
    "Tvinde",
    "Kestrel Lane",
    "Oakmerre",
    "Ruderby",
    "Vintergæk",
    "Pelagna",
    "Sønderhav",
];
const LINES: [&str; 16] = [
    "Fyr", "Skov", "Hede", "Dune", "Ember", "Coast", "Birch", "Moss", "Slate", "Amber", "Nova", "Delta", "Harbour",
    "Juniper", "Lark", "Tern",
];
const COLLECTIONS: [&str; 6] = ["New in", "Bestsellers", "Outlet", "Summer", "Winter", "Gifts"];
const LABELS: [&str; 6] = ["organic", "sale", "limited", "vegan", "handmade", "final-sale"];

/// A product.
pub(super) struct Product {
    pub(super) title: String,
    pub(super) sku: String,
    /// The path of its page.
    pub(super) url: String,
    /// Which of [`KINDS`] it is.
    pub(super) kind: u16,
    /// The category is missing for a few.
    pub(super) category: Option<&'static str>,
    pub(super) brand: Option<&'static str>,
    pub(super) collections: Vec<&'static str>,
    pub(super) labels: Vec<&'static str>,
    /// Hundredths of the shop's currency.
    pub(super) price: i64,
    /// The price from a day on (the day as a share of the history), where it was ever changed.
    pub(super) repriced: Option<(f64, i64)>,
}

/// Everything on sale.
pub(super) struct Catalogue {
    pub(super) products: Vec<Product>,
    shelves: Vec<Shelf>,
    /// Running sums of the shelves' weights.
    weights: Vec<f64>,
}

struct Shelf {
    products: Vec<u32>,
    /// Running sums of the products' popularity, by Zipf's law.
    popularity: Vec<f64>,
}

impl Catalogue {
    /// A catalogue for a shop of that many customers, in a currency of which a euro buys `level`.
    pub(super) fn new(customers: u64, level: f64, rng: &mut ChaCha8Rng) -> Self {
        let size = ((24.0 * (customers as f64).powf(0.38)) as usize).max(2 * KINDS.len());
        let weights = running(KINDS.iter().map(|kind| kind.weight));
        let mut shelves: Vec<Vec<u32>> = vec![Vec::new(); KINDS.len()];
        let mut products = Vec::with_capacity(size);
        for n in 0..size {
            let shelf = if n < KINDS.len() { n } else { pick(&weights, rng) };
            shelves[shelf].push(n as u32);
            products.push(product(n, shelf, level, rng));
        }
        let shelves = shelves
            .into_iter()
            .map(|products| {
                let popularity = running((0..products.len()).map(|rank| 1.0 / (rank as f64 + 2.0).powf(0.95)));
                Shelf { products, popularity }
            })
            .collect();
        Self { products, shelves, weights }
    }

    /// A shelf, the popular ones more often.
    pub(super) fn shelf(&self, rng: &mut ChaCha8Rng) -> u16 {
        pick(&self.weights, rng) as u16
    }

    /// A product on a shelf, the popular ones more often.
    pub(super) fn product_on(&self, shelf: u16, rng: &mut ChaCha8Rng) -> u32 {
        let shelf = &self.shelves[usize::from(shelf)];
        shelf.products[pick(&shelf.popularity, rng)]
    }

    /// What a product costs after that share of the history.
    pub(super) fn price(&self, product: u32, share: f64) -> i64 {
        let product = &self.products[product as usize];
        product.repriced.filter(|(from, _)| share >= *from).map_or(product.price, |(_, price)| price)
    }
}

fn product(n: usize, shelf: usize, level: f64, rng: &mut ChaCha8Rng) -> Product {
    let kind = &KINDS[shelf];
    let noun = kind.nouns[rng.random_range(0..3)];
    let line = LINES[rng.random_range(0..LINES.len())];
    let brand = BRANDS[(shelf * 5 + rng.random_range(0..4)) % BRANDS.len()];
    let title = if kind.slug == "/gift-cards" { noun.to_owned() } else { format!("{line} {noun}") };
    let price = tag_price(kind.price * level * (0.55 + 1.1 * rng.random::<f64>()), level);
    let repriced = rng.random_bool(0.15).then(|| {
        (0.2 + 0.7 * rng.random::<f64>(), tag_price(price as f64 / 100.0 * rng.random_range(0.85..1.2), level))
    });
    Product {
        title,
        sku: format!("{}-{:05}", kind.slug[1..3].to_uppercase(), n + 1),
        url: format!("/products/{}", super::ids::product(n as u32).as_str()),
        kind: shelf as u16,
        category: (!rng.random_bool(0.02)).then_some(kind.category),
        brand: (!rng.random_bool(0.08)).then_some(brand),
        collections: some_of(&COLLECTIONS, 0.22, rng),
        labels: some_of(&LABELS, 0.16, rng),
        price,
        repriced,
    }
}

/// The price on the tag, in hundredths: one below the next ten in small currencies, `….95` in big ones.
fn tag_price(price: f64, level: f64) -> i64 {
    if level >= 5.0 {
        ((price / 10.0).round() as i64).max(1) * 1_000 - 100
    } else {
        (price.floor() as i64).max(1) * 100 + 95
    }
}

/// The names that a coin of that chance picks.
fn some_of(names: &[&'static str], chance: f64, rng: &mut ChaCha8Rng) -> Vec<&'static str> {
    names.iter().copied().filter(|_| rng.random_bool(chance)).collect()
}

fn running(weights: impl Iterator<Item = f64>) -> Vec<f64> {
    weights
        .scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        })
        .collect()
}

/// A place in running sums, by weight.
pub(super) fn pick(sums: &[f64], rng: &mut ChaCha8Rng) -> usize {
    let at = rng.random::<f64>() * sums.last().copied().unwrap_or(0.0);
    sums.partition_point(|sum| *sum <= at).min(sums.len() - 1)
}
