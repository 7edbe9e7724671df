//! The profile computed the plain way: loops over the contract's sentences, against random shops.

use std::collections::{BTreeMap, BTreeSet};

use alluvial::calendar::{add_days, parse_date};
use chrono::NaiveDate;

use crate::random::{At, Customer, Event, FILES, Landed, Line, Order, Random, ZONE, money, random, zone};
use crate::shop::Shop;

/// Shops that every run of the tests compares; forty were when this was written.
const SEEDS: u64 = 3;

/// The version time of a row: its own, else the end of its folder's day.
fn version<T>(row: &Landed<T>) -> Option<At> {
    let folder = FILES[row.file].strip_prefix("dt=").map(|rest| zone().cutoff(parse_date(&rest[..10]).unwrap()));
    row.updated_at.or(folder)
}

/// The winning version of every id.
fn winners<T: Clone>(rows: &[Landed<T>], cutoff: At) -> BTreeMap<String, Landed<T>> {
    let mut by_id: BTreeMap<String, Vec<&Landed<T>>> = BTreeMap::new();
    for row in rows {
        by_id.entry(row.id.clone()).or_default().push(row);
    }
    let best = |mut all: Vec<&Landed<T>>| {
        // By file, and by row within it: a stable sort; of equal ones the last is taken.
        all.sort_by_key(|row| row.file);
        let seen = all.iter().filter(|row| version(row).is_some_and(|at| at <= cutoff)).max_by_key(|row| version(row));
        let timeless = all.iter().rfind(|row| version(row).is_none());
        let oldest = all.iter().rev().min_by_key(|row| version(row));
        (*seen.or(timeless).or(oldest).unwrap()).clone()
    };
    by_id.into_iter().map(|(id, all)| (id, best(all))).collect()
}

/// Lines of every order: the set of the newest version time at or before the cutoff.
fn line_sets(rows: &[Landed<Line>], orders: &BTreeMap<String, Landed<Order>>, cutoff: At) -> Vec<(String, Line)> {
    let mut out = Vec::new();
    for (id, order) in orders {
        let mut lines: Vec<&Landed<Line>> = rows.iter().filter(|row| row.id == *id).collect();
        lines.sort_by_key(|row| row.file);
        let at = |row: &Landed<Line>| version(row).or(version(order));
        let newest = lines.iter().filter_map(|row| at(row)).filter(|at| *at <= cutoff).max();
        let chosen = newest.or(lines.iter().filter_map(|row| at(row)).min());
        let set: Vec<&&Landed<Line>> = lines.iter().filter(|row| at(row) == chosen).collect();
        for (place, row) in set.iter().enumerate() {
            let again = set[place + 1..].iter().any(|later| later.row.line.is_some() && later.row.line == row.row.line);
            if chosen.is_none() || !again {
                out.push((id.clone(), row.row.clone()));
            }
        }
    }
    out
}

fn root(id: &str, links: &BTreeMap<String, (At, usize, String)>) -> String {
    links.get(id).map_or_else(|| id.to_owned(), |(_, _, to)| root(to, links))
}

#[derive(Debug, Default)]
struct Person {
    landed: bool,
    email_status: &'static str,
    orders: Vec<(At, bool, bool, i128, i128)>,
    bought: i64,
    returned: i64,
    events: Vec<Event>,
}

/// `total` in the shop's currency, rounded half away from zero.
fn converted(cents: i128, rate: Option<i128>) -> i128 {
    rate.map_or(cents, |rate| (cents * rate + 50_000_000) / 100_000_000)
}

fn profile(shop: &Random, as_of: NaiveDate) -> Vec<String> {
    let zone = zone();
    let cutoff = zone.cutoff(as_of);
    let mut links: BTreeMap<String, (At, usize, String)> = BTreeMap::new();
    for (place, (from, to, at)) in shop.links.iter().enumerate().filter(|(_, link)| link.2 < cutoff) {
        if links.get(from).is_none_or(|known| (known.0, known.1) < (*at, place)) {
            links.insert(from.clone(), (*at, place, to.clone()));
        }
    }
    let customers = winners(&shop.customers, cutoff);
    let mut orders = winners(&shop.orders, cutoff);
    orders.retain(|_, order| order.row.ordered_at < cutoff);
    let first_landed = zone.start_of_day(parse_date("2026-10-20").unwrap());
    let since = |c: &Landed<Customer>| c.row.created_at.or(c.row.consent_at).or(version(c)).unwrap_or(first_landed);
    let named = |id: &str| orders.values().any(|o| !o.row.test && o.row.customer.as_deref() == Some(id));

    // Whose an address is.
    let mut addresses: BTreeMap<&str, (bool, At, String)> = BTreeMap::new();
    for (id, customer) in customers.iter().filter(|(id, c)| since(c) < cutoff || named(id)) {
        let Some(email) = &customer.row.email else { continue };
        let person = root(id, &links);
        let deleted = person == *id && customer.row.deleted_at.is_some_and(|at| at < cutoff);
        let claim = (deleted, since(customer), person);
        let best = addresses.entry(email).or_insert_with(|| claim.clone());
        *best = claim.min(best.clone());
    }
    let mut owners: BTreeMap<&str, String> = BTreeMap::new();
    for (id, order) in orders.iter().filter(|(_, order)| !order.row.test) {
        let by_mail =
            |mail: &String| addresses.get(mail.as_str()).map_or(format!("guest of {mail}"), |best| best.2.clone());
        let owner = order.row.customer.as_ref().map(|id| root(id, &links));
        if let Some(owner) = owner.or(order.row.email.as_ref().map(by_mail)) {
            owners.insert(id, owner);
        }
    }

    // Who exists, and who is deleted.
    let mut people: BTreeMap<String, Person> =
        owners.values().map(|owner| (owner.clone(), Person::default())).collect();
    let mut deleted = BTreeSet::new();
    let mut heirs: BTreeMap<String, (bool, At, &str)> = BTreeMap::new();
    for (id, customer) in &customers {
        let person = root(id, &links);
        let claim = (person != *id, since(customer), id.as_str());
        let heir = heirs.entry(person.clone()).or_insert(claim);
        *heir = claim.min(*heir);
        if since(customer) < cutoff {
            people.entry(person).or_default();
        }
    }
    for (person, (_, _, id)) in &heirs {
        let Some(found) = people.get_mut(person) else { continue };
        found.landed = true;
        let landed = &customers[*id].row;
        if landed.deleted_at.is_some_and(|at| at < cutoff) {
            deleted.insert(person.clone());
        }
        let events =
            || shop.events.iter().filter(|event| event.row.at < cutoff && root(&event.row.who, &links) == *person);
        let last = |kind: &str| events().filter(|event| event.row.kind == kind).map(|event| event.row.at).max();
        let mut versions: Vec<&Landed<Customer>> =
            shop.customers.iter().filter(|c| c.id == *id && version(c).is_some_and(|at| at <= cutoff)).collect();
        versions.sort_by_key(|c| (version(c), c.file));
        let opted_in = versions
            .windows(2)
            .filter(|pair| pair[1].row.consent == Some("subscribed") && pair[0].row.consent != pair[1].row.consent)
            .map(|pair| version(pair[1]).unwrap())
            .max()
            .filter(|_| id == person);
        let later = |event: At, consents: &[&str]| {
            landed.consent.is_some_and(|consent| consents.contains(&consent))
                && landed.consent_at.is_some_and(|at| at > event)
                || landed.consent == Some("subscribed") && opted_in.is_some_and(|at| at > event)
        };
        found.email_status = match (last("email_bounced"), last("email_unsubscribed"), landed.consent) {
            (Some(bounced), _, _) if !later(bounced, &["subscribed", "pending"]) => "invalid",
            (_, _, None) => "not_subscribed",
            (_, Some(left), Some("subscribed" | "pending"))
                if !(later(left, &["subscribed", "pending"]) || opted_in.is_some_and(|at| at > left)) =>
            {
                "unsubscribed"
            }
            (_, _, Some(consent)) => consent,
        };
    }
    for (id, order) in &orders {
        let Some(person) = owners.get(id.as_str()).and_then(|owner| people.get_mut(owner)) else { continue };
        let row = &order.row;
        let day = zone.local_date(row.ordered_at);
        let rate = shop
            .rates
            .iter()
            .enumerate()
            .filter(|(_, (known, _))| *known <= day)
            .max_by_key(|(place, (known, _))| (*known, *place));
        let rate = row.sek.then(|| rate.unwrap().1.1);
        let status = row.status.unwrap_or("paid");
        let total = converted(row.cents, rate);
        let refunded = if row.refunded_at.is_some_and(|at| at >= cutoff) {
            0
        } else {
            row.refunded.map_or(if status == "refunded" { total } else { 0 }, |cents| converted(cents, rate))
        };
        person.orders.push((
            row.ordered_at,
            matches!(status, "paid" | "refunded"),
            status == "cancelled",
            total - refunded,
            refunded,
        ));
    }
    for (id, line) in line_sets(&shop.lines, &orders, cutoff) {
        let Some(person) = owners.get(id.as_str()).and_then(|owner| people.get_mut(owner)) else { continue };
        if matches!(orders[&id].row.status, None | Some("paid" | "refunded")) {
            person.bought += line.quantity.unwrap_or(1);
            person.returned += line.returned.unwrap_or(0);
        }
    }
    for event in winners(&shop.events, cutoff).into_values().filter(|event| event.row.at < cutoff) {
        if let Some(person) = people.get_mut(&root(&event.row.who, &links)) {
            person.events.push(event.row);
        }
    }
    people.retain(|id, _| !deleted.contains(id));
    let buyers: Vec<i128> = people
        .values()
        .filter(|p| p.orders.iter().any(|o| o.1))
        .map(|p| p.orders.iter().filter(|o| o.1).map(|o| o.3).sum())
        .collect();
    let mut rows: Vec<String> = people.iter().map(|(id, person)| shown(id, person, &buyers, as_of)).collect();
    rows.sort();
    rows
}

fn shown(id: &str, person: &Person, buyers: &[i128], as_of: NaiveDate) -> String {
    let zone = zone();
    let id = if id.starts_with("guest") { "guest" } else { id };
    let counted: Vec<_> = person.orders.iter().filter(|order| order.1).collect();
    let spent: i128 = counted.iter().map(|order| order.3).sum();
    let refunded: i128 = counted.iter().map(|order| order.4).sum();
    let last = counted.iter().map(|order| order.0).max();
    let silent = last.map(|at| (as_of - zone.local_date(at)).num_days());
    let count = |kind: &str, days: i64| {
        let first = add_days(as_of, 1 - days).unwrap();
        person.events.iter().filter(|event| event.kind == kind && zone.local_date(event.at) >= first).count()
    };
    let open = |at: At| person.orders.iter().any(|order| !order.2 && order.0 >= at);
    let taken_out = |add: &Event| {
        person
            .events
            .iter()
            .any(|event| event.kind == "removed_from_cart" && event.product == add.product && event.at > add.at)
    };
    let cart = person
        .events
        .iter()
        .filter(|event| event.kind == "added_to_cart" && !taken_out(event) && !open(event.at))
        .map(|event| event.at)
        .max();
    let seen = person
        .events
        .iter()
        .filter(|event| matches!(event.kind, "page_viewed" | "added_to_cart" | "checkout_started"))
        .map(|event| event.at)
        .max();
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let percentile = last.map(|_| {
        let below = buyers.iter().filter(|other| **other < spent).count();
        if buyers.len() == 1 { 0.0 } else { 100.0 * below as f64 / (buyers.len() - 1) as f64 }
    });
    let or = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    let at = |value: Option<At>| or(value.map(|at| at.format("%Y-%m-%dT%H:%M:%SZ").to_string()));
    let bounced = person.events.iter().any(|event| event.kind == "email_bounced");
    let status = match person.landed {
        true => person.email_status,
        false if bounced => "invalid",
        false => "not_subscribed",
    };
    let numbers = format!(
        "{}|{}|{}|{}|{}|{}",
        counted.len(),
        money(spent),
        money(refunded),
        person.orders.iter().filter(|order| order.2).count(),
        person.bought,
        person.returned
    );
    format!(
        "{id}|{numbers}|{}|{}|{}|{}|{}|{}|{}|{status}",
        at(last),
        or(silent.map(|days| days.to_string())),
        count("page_viewed", 30),
        count("email_clicked", 90),
        at(seen),
        at(cart),
        or(percentile.map(|percent| format!("{percent:?}"))),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn random_shops_have_the_profile_of_the_plain_way() {
    let columns = "CASE WHEN starts_with(customer_id, 'guest:') THEN 'guest' ELSE customer_id END, number_of_orders, amount_spent, refunded_amount, cancelled_orders, items_bought, items_returned, last_order_date, days_since_last_order, page_views_30d, email_clicks_90d, last_seen_date, abandoned_cart_date, amount_spent_percentile, email_subscription_status";

    for seed in 0..SEEDS {
        let random = random(seed);
        let shop = Shop::new(ZONE);
        random.land(&shop);
        for as_of in ["2026-10-25", "2026-11-08"] {
            let day = shop.day(as_of).await;
            let mut rows = day.profile(columns).await;
            rows.sort();
            assert_eq!(rows, profile(&random, parse_date(as_of).unwrap()), "seed {seed}, {as_of}");
        }
    }
}
