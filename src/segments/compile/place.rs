//! How far from a point a customer is: the great circle by the haversine formula, on a sphere of the Earth's mean radius
//! of 6371.0088 km (IUGG). Good to half a percent of the distance, which no segment tells apart.

use super::{Scope, test};
use crate::error::{Error, Result};
use crate::profile::catalogue::Source;
use crate::segments::check::PlaceTest;
use crate::segments::syntax::Decimal;

/// The test as SQL over the customer's own place, in degrees.
pub(super) fn sql(place: &PlaceTest, latitude: &str, longitude: &str, scope: Scope) -> Result<String> {
    let known = format!("{latitude} IS NOT NULL AND {longitude} IS NOT NULL");
    let Some(point) = place.point else { return Ok(format!("({known})")) };
    let distance = distance(point, latitude, longitude);
    let mut parts = vec![known];
    for one in &place.tests {
        let Source::Row(unit) = &one.attribute.source else {
            return Err(Error::internal("segment.misfit", "a distance without a unit came through the check"));
        };
        parts.push(test::of_column(&format!("({distance} / CAST({unit} AS DOUBLE))"), one, scope)?);
    }
    Ok(format!("({})", parts.join(" AND ")))
}

/// Kilometres: 2 R asin √(sin²(Δφ/2) + cos φ₁ cos φ₂ sin²(Δλ/2)).
pub(super) fn distance((latitude, longitude): (Decimal, Decimal), own_latitude: &str, own_longitude: &str) -> String {
    let degrees = |value: Decimal| format!("CAST('{value}' AS DOUBLE)");
    let (latitude, longitude) = (degrees(latitude), degrees(longitude));
    let half = |own: &str, other: &str| format!("power(sin(radians({own} - {other}) / 2.0), 2.0)");
    format!(
        "12742.0176 * asin(least(1.0, sqrt({} + cos(radians({latitude})) * cos(radians({own_latitude})) * {})))",
        half(own_latitude, &latitude),
        half(own_longitude, &longitude)
    )
}
