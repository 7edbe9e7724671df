//! Who the customers are: names, places, addresses, what they are asked for when they register.

use std::sync::Arc;

use chrono::{Datelike, NaiveDate, TimeDelta};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::catalogue::pick;
use super::rows::CustomerRow;

/// A country: how often, how it is spelt by careless systems, its language, and its cities.
pub(super) struct Country {
    pub(super) code: &'static str,
    spellings: [&'static str; 3],
    language: &'static str,
    share: f64,
    street: &'static str,
    cities: &'static [City],
}

/// A city: its region, first postal code, place, and how much of the country's custom it is.
pub(super) struct City(pub(super) &'static str, &'static str, u32, f64, f64, f64);

const COUNTRIES: [Country; 7] = [
    Country {
        code: "DK",
        spellings: ["Denmark", "DNK", "dk"],
        language: "da",
        share: 62.0,
        street: "Eksempelvej",
        cities: &[
            City("København", "84", 1050, 55.676, 12.568, 10.0),
            City("Aarhus", "82", 8000, 56.157, 10.211, 5.0),
            City("Odense", "83", 5000, 55.404, 10.402, 3.0),
            City("Aalborg", "81", 9000, 57.048, 9.919, 2.5),
            City("Roskilde", "85", 4000, 55.642, 12.081, 1.5),
            City("Esbjerg", "83", 6700, 55.476, 8.459, 1.0),
        ],
    },
    Country {
        code: "SE",
        spellings: ["Sweden", "SWE", "se"],
        language: "sv",
        share: 13.0,
        street: "Exempelgatan",
        cities: &[
            City("Stockholm", "AB", 11120, 59.329, 18.069, 5.0),
            City("Göteborg", "O", 41103, 57.709, 11.975, 3.0),
            City("Malmö", "M", 21119, 55.605, 13.004, 4.0),
        ],
    },
    Country {
        code: "NO",
        spellings: ["Norway", "NOR", "no"],
        language: "nb",
        share: 8.0,
        street: "Eksempelveien",
        cities: &[City("Oslo", "03", 150, 59.914, 10.752, 4.0), City("Bergen", "46", 5003, 60.393, 5.324, 2.0)],
    },
    Country {
        code: "DE",
        spellings: ["Germany", "DEU", "de"],
        language: "de",
        share: 9.0,
        street: "Musterstraße",
        cities: &[
            City("Hamburg", "HH", 20095, 53.551, 9.994, 4.0),
            City("Berlin", "BE", 10115, 52.520, 13.405, 4.0),
            City("Flensburg", "SH", 24937, 54.784, 9.436, 1.0),
        ],
    },
    Country {
        code: "GB",
        spellings: ["United Kingdom", "GBR", "gb"],
        language: "en",
        share: 3.0,
        street: "Sample Street",
        cities: &[City("London", "ENG", 10100, 51.507, -0.128, 3.0), City("Leeds", "ENG", 20100, 53.801, -1.549, 1.0)],
    },
    Country {
        code: "NL",
        spellings: ["Netherlands", "NLD", "nl"],
        language: "nl",
        share: 3.0,
        street: "Voorbeeldstraat",
        cities: &[City("Amsterdam", "NH", 1011, 52.371, 4.900, 2.0), City("Utrecht", "UT", 3511, 52.091, 5.122, 1.0)],
    },
    Country {
        code: "US",
        spellings: ["United States", "USA", "us"],
        language: "en",
        share: 2.0,
        street: "Example Avenue",
        cities: &[
            City("New York", "NY", 10001, 40.713, -74.006, 2.0),
            City("Austin", "TX", 78701, 30.267, -97.743, 1.0),
        ],
    },
];

const WOMEN: [&str; 14] = [
    "Anna", "Mette", "Sofie", "Ida", "Freja", "Emma", "Karen", "Maja", "Ingrid", "Astrid", "Clara", "Zoë", "Lærke",
    "Nora",
];
const MEN: [&str; 14] = [
    "Lars", "Mads", "Oscar", "Emil", "Søren", "Jens", "Åge", "Noah", "William", "Karl", "Peter", "Malthe", "Jürgen",
    "Liam",
];
const FAMILIES: [&str; 20] = [
    "Jensen",
    "Nielsen",
    "Hansen",
    "Pedersen",
    "Andersen",
    "Møller",
    "Lindqvist",
    "Berg",
    "Dahl",
    "Schmidt",
    "O'Neill",
    "van Dijk",
    "Smith",
    "Holm",
    "Kjær",
    "Larsson",
    "Eriksen",
    "Winther",
    "Østergaard",
    "Lund",
];
const DOMAINS: [&str; 3] = ["example.com", "example.org", "example.net"];
const SOURCES: [&str; 5] = ["checkout", "popup", "footer", "store", "app"];
const STORES: [&str; 6] = ["Strøget", "Field's", "Bruuns Galleri", "Rosengårdcentret", "Emporia", "Europa Passage"];
/// 1970-01-01 as days of the common era.
const EPOCH: i32 = 719_163;

/// A civil date as Arrow and Parquet hold it.
pub(super) fn epoch_days(date: NaiveDate) -> i32 {
    date.num_days_from_ce() - EPOCH
}

/// Who a customer is, apart from what they do: a pure function of the seed and the index, so that another customer's
/// orders may name them.
pub(super) struct Person {
    pub(super) country: &'static Country,
    pub(super) woman: bool,
    pub(super) first_name: &'static str,
    pub(super) last_name: &'static str,
    pub(super) email: Option<Arc<str>>,
    pub(super) phone: Option<Arc<str>>,
    rng: ChaCha8Rng,
}

impl Person {
    /// The customer of that index.
    pub(super) fn new(seed: u64, index: u32) -> Self {
        let mut person = Self::alone(seed, index);
        // An account opened again under another spelling of the address, and two people of one household: the other
        // is never one of these itself.
        if index % 11 == 5 && person.rng.random_bool(0.12) {
            let other = Self::alone(seed, index - 1);
            person.email = other.email.map(|email| email.to_uppercase().into());
        } else if index % 11 == 7 && person.rng.random_bool(0.04) {
            person.phone = Self::alone(seed, index - 1).phone;
        }
        person
    }

    fn alone(seed: u64, index: u32) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream(index, Purpose::Person));
        let shares: Vec<f64> = COUNTRIES
            .iter()
            .scan(0.0, |sum, country| {
                *sum += country.share;
                Some(*sum)
            })
            .collect();
        let country = &COUNTRIES[pick(&shares, &mut rng)];
        let woman = rng.random_bool(0.58);
        let first_name = if woman { WOMEN } else { MEN }[rng.random_range(0..14)];
        let last_name = FAMILIES[rng.random_range(0..FAMILIES.len())];
        let domain = DOMAINS[pick(&[6.0, 8.5, 10.0], &mut rng)];
        let email = (!rng.random_bool(0.025)).then(|| {
            let address = format!("{}.{}{}@{domain}", ascii(first_name), ascii(last_name), index + 1);
            let address = if rng.random_bool(0.03) {
                format!("{}{}", address[..1].to_uppercase(), &address[1..])
            } else {
                address
            };
            address.into()
        });
        // No country has the code +999 (ITU-T E.164, reserved), so nobody has the number, however large the shop.
        let phone = rng.random_bool(0.72).then(|| format!("+999{:08}", (index + 1) % 100_000_000).into());
        Self { country, woman, first_name, last_name, email, phone, rng }
    }

    /// The customer's first version; consents and custom behaviour are filled in by whoever knows them.
    pub(super) fn row(&mut self, index: u32, created_at: i64, last_day: NaiveDate) -> CustomerRow {
        let country = self.country;
        let rng = &mut self.rng;
        let spelling = match rng.random_range(0..100) {
            0..4 => None,
            4..8 => Some(country.spellings[0]),
            8..11 => Some(country.spellings[1]),
            11..13 => Some(country.spellings[2]),
            _ => Some(country.code),
        };
        let mut row = CustomerRow {
            landed_at: created_at,
            index,
            created_at: (!rng.random_bool(0.006)).then_some(created_at),
            updated_at: Some(created_at),
            store: Some(if matches!(country.code, "DK" | "SE" | "NO") { "nordic" } else { "international" }),
            email: self.email.clone(),
            phone: self.phone.clone(),
            first_name: Some(self.first_name),
            last_name: (!rng.random_bool(0.02)).then_some(self.last_name),
            gender: [Some(if self.woman { "female" } else { "male" }), None][usize::from(rng.random_bool(0.45))],
            language: (!rng.random_bool(0.1)).then_some(country.language),
            country: spelling,
            registration_source: SOURCES.choose(rng).copied(),
            shoe_size: rng.random_bool(0.3).then(|| rng.random_range(36..47)),
            preferred_store: rng.random_bool(0.22).then(|| STORES[rng.random_range(0..STORES.len())]),
            ..CustomerRow::default()
        };
        if rng.random_bool(0.35) {
            let age = rng.random_range(17 * 365..82 * 365);
            row.birthday = Some(epoch_days(last_day - TimeDelta::days(age)));
        }
        self.move_to(&mut row);
        row
    }

    /// Gives the row another home.
    pub(super) fn move_to(&mut self, row: &mut CustomerRow) {
        let rng = &mut self.rng;
        if rng.random_bool(0.12) {
            return;
        }
        let sums: Vec<f64> = self
            .country
            .cities
            .iter()
            .scan(0.0, |sum, city| {
                *sum += city.5;
                Some(*sum)
            })
            .collect();
        let city = &self.country.cities[pick(&sums, rng)];
        row.city = Some(city.0);
        row.region = (!rng.random_bool(0.1)).then_some(city.1);
        row.postal_code = Some(format!("{:04}", city.2 + rng.random_range(0..40)).into());
        row.address =
            rng.random_bool(0.85).then(|| format!("{} {}", self.country.street, rng.random_range(1..190)).into());
        if rng.random_bool(0.6) {
            row.latitude = Some(near(city.3, rng));
            row.longitude = Some(near(city.4, rng));
        }
    }
}

/// A coordinate within some kilometres, to four decimals.
fn near(degrees: f64, rng: &mut ChaCha8Rng) -> f64 {
    ((degrees + rng.random_range(-0.08..0.08)) * 1e4).round() / 1e4
}

/// What a random stream is for. Each customer has one of each, so that no draw depends on another customer's.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Person = 1,
    Life = 2,
}

/// The number of a customer's stream; 0 to 3 are the shop's own.
pub(super) fn stream(index: u32, purpose: Purpose) -> u64 {
    4 * (u64::from(index) + 1) + purpose as u64
}

/// A name as the local part of an address writes it.
fn ascii(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 2);
    for letter in name.chars().flat_map(char::to_lowercase) {
        match letter {
            'å' => text.push_str("aa"),
            'æ' => text.push_str("ae"),
            'ø' | 'ö' => text.push('o'),
            'ü' => text.push('u'),
            'ë' => text.push('e'),
            letter if letter.is_ascii_alphanumeric() => text.push(letter),
            _ => {}
        }
    }
    text
}
