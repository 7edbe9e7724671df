//! What an attribute's values are, and the operators that follow from it.

use arrow::datatypes::DataType;

use super::{Field, FieldKind};

/// What an attribute's values are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// A whole number.
    Integer,
    /// An exact number, such as money.
    Decimal {
        /// Decimal digits in all.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// A floating-point number, such as a probability.
    Float,
    /// Text, compared exactly.
    Text,
    /// An identifier: text that may be written without quotes where it is a number.
    Id,
    /// One of a few values that the product knows, in lower case; written in any case.
    Enum(&'static [&'static str]),
    /// One of a few values that the project declares; written in any case.
    Choice(Vec<String>),
    /// An instant, compared in whole local days.
    Day,
    /// A civil date.
    CivilDate,
    /// True or false.
    Boolean,
    /// A list of texts, compared without regard to case; the elements that the project declares, if it does.
    List(Vec<String>),
    /// A row's list of texts of which any may be the one asked for, compared without regard to case.
    Elements(Vec<String>),
    /// A row's path of categories, ` > ` between the levels: a value is each of its prefixes.
    Path,
}

/// What a clause can ask of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operator {
    /// `=` and `!=`.
    Equal,
    /// `<`, `<=`, `>` and `>=`.
    Order,
    /// `BETWEEN` and `NOT BETWEEN`, both ends included.
    Between,
    /// `IN` and `NOT IN`.
    In,
    /// `CONTAINS` and `NOT CONTAINS`: a list's whole element, or a part of a text.
    Contains,
    /// `STARTS WITH` and `NOT STARTS WITH`.
    StartsWith,
    /// `IS NULL` and `IS NOT NULL`.
    IsNull,
}

impl Operator {
    /// How it is written.
    pub fn spelling(self) -> &'static str {
        match self {
            Operator::Equal => "= !=",
            Operator::Order => "< <= > >=",
            Operator::Between => "BETWEEN",
            Operator::In => "IN",
            Operator::Contains => "CONTAINS",
            Operator::StartsWith => "STARTS WITH",
            Operator::IsNull => "IS NULL",
        }
    }
}

impl Type {
    /// The operators that it takes.
    pub fn operators(&self) -> &'static [Operator] {
        use Operator::{Between, Contains, Equal, In, IsNull, Order, StartsWith};
        match self {
            Type::Integer | Type::Decimal { .. } | Type::Float | Type::Day | Type::CivilDate => {
                &[Equal, Order, Between, In, IsNull]
            }
            Type::Text | Type::Id => &[Equal, In, Contains, StartsWith, IsNull],
            Type::Enum(_) | Type::Choice(_) => &[Equal, In, IsNull],
            Type::Boolean => &[Equal, IsNull],
            Type::List(_) => &[Contains, IsNull],
            Type::Elements(_) => &[Equal, In, Contains, IsNull],
            Type::Path => &[Equal, In, Contains, StartsWith, IsNull],
        }
    }

    /// What a test of such a value looks like.
    pub(super) fn example(&self) -> &'static str {
        match self {
            Type::Integer => ">= 2",
            Type::Decimal { .. } | Type::Float => ">= 9.95",
            Type::Text | Type::Enum(_) | Type::Choice(_) | Type::Elements(_) => "= 'text'",
            Type::Id => "= 1234",
            Type::Path => "= 'Shoes'",
            Type::Day | Type::CivilDate => ">= -30d",
            Type::Boolean => "= true",
            Type::List(_) => "CONTAINS 'text'",
        }
    }

    /// Its name for people.
    pub fn name(&self) -> &'static str {
        match self {
            Type::Integer => "whole number",
            Type::Decimal { .. } => "exact number",
            Type::Float => "number",
            Type::Text => "text",
            Type::Id => "id",
            Type::Enum(_) | Type::Choice(_) => "choice",
            Type::Day => "day",
            Type::CivilDate => "date",
            Type::Boolean => "true or false",
            Type::List(_) | Type::Elements(_) => "list",
            Type::Path => "path",
        }
    }

    /// Its name for people, as what a sentence says that an attribute is.
    pub fn described(&self) -> &'static str {
        match self {
            Type::Integer => "a whole number",
            Type::Decimal { .. } => "an exact number",
            Type::Float => "a number",
            Type::Text => "text",
            Type::Id => "an id",
            Type::Enum(_) | Type::Choice(_) => "a choice",
            Type::Day => "a day",
            Type::CivilDate => "a date",
            Type::Boolean => "true or false",
            Type::List(_) | Type::Elements(_) => "a list",
            Type::Path => "a path of categories",
        }
    }

    /// The values that a query may name, in lower case where the product knows them; empty if any.
    pub fn values(&self) -> Vec<&str> {
        match self {
            Type::Enum(values) => values.to_vec(),
            Type::Choice(values) | Type::List(values) | Type::Elements(values) => {
                values.iter().map(String::as_str).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The type of a profile column that the contract does not know: what the project declares, as far as the column
    /// can hold it, else what the column holds. `None` for what no clause can test (structures, binary).
    pub(super) fn of_column(data_type: &DataType, field: Option<&Field>) -> Option<Type> {
        let held = Self::held_by(data_type);
        let Some(field) = field else { return held };
        Some(match (field.kind, held) {
            (None, held) => return held,
            (Some(FieldKind::Choice), _) => Type::Choice(field.options.clone()),
            (Some(FieldKind::List), _) => Type::List(field.options.clone()),
            (Some(FieldKind::Text), _) => Type::Text,
            (Some(FieldKind::Boolean), _) => Type::Boolean,
            (Some(FieldKind::Number), Some(held @ (Type::Integer | Type::Decimal { .. }))) => held,
            (Some(FieldKind::Number), _) => Type::Float,
            (Some(FieldKind::Date), Some(Type::Day)) => Type::Day,
            (Some(FieldKind::Date), _) => Type::CivilDate,
        })
    }

    fn held_by(data_type: &DataType) -> Option<Type> {
        Some(match data_type {
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale)
            | DataType::Decimal256(precision, scale) => match u8::try_from(*scale) {
                Ok(scale) if *precision <= 38 => Type::Decimal { precision: *precision, scale },
                _ => Type::Float,
            },
            data_type if data_type.is_integer() => Type::Integer,
            data_type if data_type.is_floating() => Type::Float,
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => Type::Text,
            DataType::Dictionary(_, values) => return Self::held_by(values),
            DataType::Date32 | DataType::Date64 => Type::CivilDate,
            DataType::Timestamp(_, _) => Type::Day,
            DataType::Boolean => Type::Boolean,
            DataType::List(element) | DataType::LargeList(element)
                if matches!(element.data_type(), DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8) =>
            {
                Type::List(Vec::new())
            }
            _ => return None,
        })
    }
}
