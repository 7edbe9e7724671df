//! The tags, categories, labels, event types and products that a query names, which landed data may never have had.

use crate::diagnostic::{Diagnostic, Span, nearest};
use crate::profile::catalogue::{Catalogue, Named, Rows};
use crate::schema::landed::{EVENT_TYPES, Table};
use crate::segments::syntax::{Expr, Leaf, Literal, Test, Value};

/// What a value of a query is looked for among.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Domain {
    /// Tags of customers, without regard to case.
    Tags,
    /// Labels of products, without regard to case.
    Labels,
    /// Categories of products and events, and the levels above them.
    Categories,
    /// Types of events.
    EventTypes,
    /// Products.
    Products,
}

/// A value that a query names, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Where it is looked for.
    pub domain: Domain,
    /// The value.
    pub value: String,
    /// Where it stands in the query.
    pub span: Span,
}

impl Domain {
    /// The landed columns that have its values, a list's elements each.
    pub fn columns(self) -> &'static [(Table, &'static str)] {
        match self {
            Domain::Tags => &[(Table::Customers, "tags")],
            Domain::Labels => &[(Table::OrderItems, "labels"), (Table::Products, "labels")],
            Domain::Categories => {
                &[(Table::OrderItems, "category"), (Table::Products, "category"), (Table::Events, "category")]
            }
            Domain::EventTypes => &[(Table::Events, "type")],
            Domain::Products => &[(Table::OrderItems, "product_id"), (Table::Products, "product_id")],
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Domain::Tags => "customer has the tag",
            Domain::Labels => "product has the label",
            Domain::Categories => "product or event is in the category",
            Domain::EventTypes => "event is of the type",
            Domain::Products => "product or order line has the id",
        }
    }

    /// Whether a landed value is the one that is asked for, or below it.
    pub fn is(self, landed: &str, asked: &str) -> bool {
        match self {
            Domain::Tags | Domain::Labels => landed.to_lowercase() == asked.to_lowercase(),
            Domain::Categories => {
                landed.strip_prefix(asked).is_some_and(|rest| rest.is_empty() || rest.starts_with(" > "))
            }
            Domain::EventTypes | Domain::Products => landed == asked,
        }
    }

    /// The values that a landed one stands for, itself the last: a path's levels.
    fn levels(self, landed: &str) -> Vec<&str> {
        let mut levels = Vec::new();
        if self == Domain::Categories {
            levels.extend(landed.match_indices(" > ").filter_map(|(at, _)| landed.get(..at)));
        }
        levels.push(landed);
        levels
    }
}

impl Asked {
    /// The warning that no landed row has it; `landed` are the values that there are.
    pub fn never_seen<'a>(&self, landed: impl Iterator<Item = &'a str>) -> Diagnostic {
        let message = format!("no landed {} `{}`", self.domain.noun(), self.value);
        let found = Diagnostic::warning("segment.never_seen", self.span.clone(), message);
        let near = nearest(&self.value, landed.flat_map(|value| self.domain.levels(value)));
        found.with_hint(match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "look at what is landed: nothing is like it".to_owned(),
        })
    }
}

/// The values of a query that landed data may never have had. Event types that the product knows are words of the
/// language, and are not among them.
pub fn asked(expr: &Expr, catalogue: &Catalogue) -> Vec<Asked> {
    let mut found = Vec::new();
    let mut add = |domain: Domain, test: &Test| {
        let values: Vec<&Value> = match test {
            Test::Compare { value, .. } | Test::Contains { value, .. } => vec![value],
            Test::In { values, .. } => values.iter().collect(),
            Test::StartsWith { .. } | Test::Between { .. } | Test::Null { .. } => Vec::new(),
        };
        for value in values {
            let text = match &value.literal {
                Literal::Text(text) => text.clone(),
                Literal::Integer(number) => number.to_string(),
                _ => continue,
            };
            if domain != Domain::EventTypes || !EVENT_TYPES.contains(&text.as_str()) {
                found.push(Asked { domain, value: text, span: value.at.0.clone() });
            }
        }
    };
    expr.leaves(&mut |leaf| match leaf {
        Leaf::Attribute { name, test, .. } => {
            if let Named::Attribute(attribute) = catalogue.resolve(&name.text)
                && attribute.name == "tags"
            {
                add(Domain::Tags, test);
            }
        }
        Leaf::Function { name, parameters, .. } => {
            let Named::Function(function) = catalogue.resolve(&name.text) else { return };
            for parameter in parameters {
                let Some(known) = function.parameter(&parameter.name.text) else { continue };
                if let Some(domain) = domain_of(function.rows, known.name)
                    && !contained_in_text(domain, &parameter.test)
                {
                    add(domain, &parameter.test);
                }
            }
        }
        Leaf::Segment { .. } | Leaf::Anniversary { .. } => {}
    });
    found
}

fn domain_of(rows: Rows, parameter: &str) -> Option<Domain> {
    let of_products = matches!(rows, Rows::Purchases | Rows::Returns | Rows::Events(_) | Rows::Abandoned(_));
    Some(match parameter {
        "tag" if of_products => Domain::Labels,
        "category" if of_products => Domain::Categories,
        "id" if rows == Rows::Events(Some("category_viewed")) => Domain::Categories,
        "id" if of_products => Domain::Products,
        "type" if of_products => Domain::EventTypes,
        _ => return None,
    })
}

/// `CONTAINS` asks for a part of a text, which is no value of its own; of a list it asks for an element.
fn contained_in_text(domain: Domain, test: &Test) -> bool {
    matches!(test, Test::Contains { .. }) && domain != Domain::Labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segments::shop;
    use crate::segments::syntax::parse;

    #[test]
    fn named_values_are_gathered_with_their_places() {
        let query = "customer_tags CONTAINS 'vip' AND products_purchased MATCHES (tag = 'New', category IN ('A', 'B'), id = 7) \
                     AND events MATCHES (type = 'quiz') AND NOT events MATCHES (type = 'page_viewed') \
                     AND storefront.collection_viewed MATCHES (id = 'Sale') AND email.opened MATCHES (activity_id = 1) \
                     AND products_purchased MATCHES (category CONTAINS 'x', tag CONTAINS 'y')";
        let found = asked(&parse(query).expr, &shop::catalogue());
        let told: Vec<String> =
            found.iter().map(|one| format!("{:?} {} {}", one.domain, one.value, &query[one.span.clone()])).collect();
        assert_eq!(
            told,
            [
                "Tags vip 'vip'",
                "Labels New 'New'",
                "Categories A 'A'",
                "Categories B 'B'",
                "Products 7 7",
                "EventTypes quiz 'quiz'",
                "Categories Sale 'Sale'",
                "Labels y 'y'",
            ]
        );
    }

    #[test]
    fn a_value_is_seen_as_the_language_compares_it() {
        assert!(Domain::Categories.is("Men > Shoes", "Men") && !Domain::Categories.is("Mens", "Men"));
        assert!(Domain::Tags.is("VIP", "vip") && !Domain::EventTypes.is("Quiz", "quiz"));
        let asked = Asked { domain: Domain::Categories, value: "Men > Shoe".into(), span: 0..1 };
        let warning = asked.never_seen(["Men > Shoes > Running", "Women"].into_iter());
        assert_eq!(warning.hint.as_deref(), Some("did you mean `Men > Shoes`?"));
        assert_eq!(warning.message, "no landed product or event is in the category `Men > Shoe`");
    }
}
