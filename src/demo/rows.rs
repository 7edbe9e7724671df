//! The rows of each table as they are made: small, so that a whole round of customers fits into memory.

use std::sync::Arc;

/// What is broken about a row on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Fault {
    #[default]
    None,
    NullId,
    FarFuture,
}

/// A version of a customer.
#[derive(Debug, Clone, Default)]
pub(super) struct CustomerRow {
    pub(super) landed_at: i64,
    pub(super) index: u32,
    pub(super) fault: Fault,
    pub(super) created_at: Option<i64>,
    pub(super) updated_at: Option<i64>,
    pub(super) deleted_at: Option<i64>,
    pub(super) store: Option<&'static str>,
    pub(super) email: Option<Arc<str>>,
    pub(super) phone: Option<Arc<str>>,
    pub(super) first_name: Option<&'static str>,
    pub(super) last_name: Option<&'static str>,
    pub(super) gender: Option<&'static str>,
    pub(super) birthday: Option<i32>,
    pub(super) language: Option<&'static str>,
    pub(super) country: Option<&'static str>,
    pub(super) region: Option<&'static str>,
    pub(super) city: Option<&'static str>,
    pub(super) postal_code: Option<Arc<str>>,
    pub(super) address: Option<Arc<str>>,
    pub(super) latitude: Option<f64>,
    pub(super) longitude: Option<f64>,
    pub(super) registration_source: Option<&'static str>,
    pub(super) membership: Option<&'static str>,
    pub(super) email_consent: Option<&'static str>,
    pub(super) sms_consent: Option<&'static str>,
    pub(super) email_consent_at: Option<i64>,
    pub(super) sms_consent_at: Option<i64>,
    pub(super) email_consent_source: Option<&'static str>,
    pub(super) email_opt_in: Option<&'static str>,
    pub(super) email_subscribed_at: Option<i64>,
    pub(super) sms_subscribed_at: Option<i64>,
    pub(super) ads_consent: Option<&'static str>,
    pub(super) email_valid: Option<bool>,
    pub(super) phone_valid: Option<bool>,
    pub(super) tags: Vec<&'static str>,
    pub(super) lists: Vec<&'static str>,
    pub(super) shoe_size: Option<i32>,
    pub(super) loyalty_points: Option<i64>,
    pub(super) preferred_store: Option<&'static str>,
}

/// Whom an order names as its customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Buyer {
    Account(u32),
    /// No customer_id at all.
    Nobody,
    /// The `0` that some platforms write for a guest.
    Zero,
    /// A customer_id that no customers file has.
    NeverLanded(u32),
}

/// A version of an order. Money in hundredths of the order's currency.
#[derive(Debug, Clone)]
pub(super) struct OrderRow {
    pub(super) landed_at: i64,
    pub(super) index: u32,
    pub(super) number: u16,
    pub(super) fault: Fault,
    pub(super) ordered_at: i64,
    pub(super) updated_at: Option<i64>,
    pub(super) buyer: Buyer,
    pub(super) email: Option<Arc<str>>,
    pub(super) phone: Option<Arc<str>>,
    pub(super) store: Option<&'static str>,
    pub(super) status: Option<&'static str>,
    pub(super) test: Option<bool>,
    pub(super) recurring: Option<bool>,
    pub(super) currency: Option<&'static str>,
    pub(super) total: i64,
    pub(super) subtotal: i64,
    pub(super) discount: i64,
    pub(super) shipping: i64,
    pub(super) tax: i64,
    pub(super) refunded: Option<i64>,
    pub(super) refunded_at: Option<i64>,
    pub(super) coupons: [Option<&'static str>; 2],
    pub(super) channel: Option<&'static str>,
    pub(super) payment: Option<&'static str>,
}

/// A line of a version of an order.
#[derive(Debug, Clone, Copy)]
pub(super) struct ItemRow {
    pub(super) landed_at: i64,
    pub(super) index: u32,
    pub(super) number: u16,
    pub(super) line: u16,
    pub(super) fault: Fault,
    pub(super) product: u32,
    /// Carries the product's own data; otherwise the products table has to fill it in.
    pub(super) described: bool,
    pub(super) quantity: Option<i64>,
    pub(super) unit_price: i64,
    pub(super) returned: Option<i64>,
    pub(super) returned_at: Option<i64>,
    pub(super) updated_at: Option<i64>,
}

/// A version of a product.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProductRow {
    pub(super) product: u32,
    pub(super) updated_at: i64,
    pub(super) price: i64,
}

/// What happened, by the contract's names and two of the shop's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    PageViewed,
    ProductViewed,
    CategoryViewed,
    Searched,
    AddedToCart,
    RemovedFromCart,
    CheckoutStarted,
    EmailSent,
    EmailDelivered,
    EmailOpened,
    EmailClicked,
    EmailBounced,
    EmailUnsubscribed,
    EmailMarkedAsSpam,
    SmsSent,
    SmsDelivered,
    SmsClicked,
    CouponReceived,
    CouponClicked,
    ReviewSubmitted,
    SubscriptionStarted,
    SubscriptionCancelled,
    ReturnRequested,
    WishlistAdded,
    QuizCompleted,
}

impl Kind {
    /// Its name in the `type` column.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::PageViewed => "page_viewed",
            Kind::ProductViewed => "product_viewed",
            Kind::CategoryViewed => "category_viewed",
            Kind::Searched => "searched",
            Kind::AddedToCart => "added_to_cart",
            Kind::RemovedFromCart => "removed_from_cart",
            Kind::CheckoutStarted => "checkout_started",
            Kind::EmailSent => "email_sent",
            Kind::EmailDelivered => "email_delivered",
            Kind::EmailOpened => "email_opened",
            Kind::EmailClicked => "email_clicked",
            Kind::EmailBounced => "email_bounced",
            Kind::EmailUnsubscribed => "email_unsubscribed",
            Kind::EmailMarkedAsSpam => "email_marked_as_spam",
            Kind::SmsSent => "sms_sent",
            Kind::SmsDelivered => "sms_delivered",
            Kind::SmsClicked => "sms_clicked",
            Kind::CouponReceived => "coupon_received",
            Kind::CouponClicked => "coupon_clicked",
            Kind::ReviewSubmitted => "review_submitted",
            Kind::SubscriptionStarted => "subscription_started",
            Kind::SubscriptionCancelled => "subscription_cancelled",
            Kind::ReturnRequested => "return_requested",
            Kind::WishlistAdded => "wishlist_added",
            Kind::QuizCompleted => "quiz_completed",
        }
    }
}

/// The device of strangers.
pub(super) const STRANGER: u8 = 9;

/// An event.
#[derive(Debug, Clone, Copy)]
pub(super) struct EventRow {
    pub(super) at: i64,
    pub(super) index: u32,
    pub(super) number: u32,
    pub(super) kind: Kind,
    pub(super) fault: Fault,
    /// The row names the customer.
    pub(super) known: bool,
    /// The device whose anonymous id the row names; 0 is none.
    pub(super) device: u8,
    pub(super) product: Option<u32>,
    pub(super) shelf: Option<u16>,
    pub(super) campaign: Option<u16>,
    /// The one word that goes with the kind: what was searched, the coupon, where a visit comes from, how a letter
    /// bounced. Rows of a round wait in memory, so they have one field for it.
    pub(super) word: Option<&'static str>,
    pub(super) properties: Option<&'static str>,
    pub(super) rating: Option<u8>,
    pub(super) machine: Option<bool>,
    /// Hundredths of the shop's currency.
    pub(super) value: Option<i64>,
}

impl EventRow {
    /// An event with nothing but its kind and time; whose it is is filled in where it is landed.
    pub(super) fn new(kind: Kind, at: i64) -> Self {
        Self {
            at,
            index: 0,
            number: 0,
            kind,
            fault: Fault::None,
            known: true,
            device: 0,
            product: None,
            shelf: None,
            campaign: None,
            word: None,
            properties: None,
            rating: None,
            machine: None,
            value: None,
        }
    }
}

/// Who is whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct IdentityRow {
    pub(super) linked_at: i64,
    pub(super) index: u32,
    pub(super) fault: Fault,
    /// The device that is linked; 0: the customer `index` itself, merged into `into`.
    pub(super) device: u8,
    pub(super) into: u32,
}

/// The price of a currency on a day, in hundred-millionths.
#[derive(Debug, Clone, Copy)]
pub(super) struct RateRow {
    pub(super) date: i32,
    pub(super) currency: &'static str,
    pub(super) rate: i128,
}

/// Someone, or a whole domain, not to be contacted.
#[derive(Debug, Clone)]
pub(super) struct SuppressionRow {
    pub(super) channel: &'static str,
    pub(super) identifier: String,
    pub(super) reason: Option<&'static str>,
    pub(super) until: Option<i32>,
}

/// The rows of a group of customers, by table and folder.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) customers: Vec<Vec<CustomerRow>>,
    pub(super) orders: Vec<Vec<OrderRow>>,
    pub(super) items: Vec<Vec<ItemRow>>,
    pub(super) events: Vec<Vec<EventRow>>,
    pub(super) identities: Vec<Vec<IdentityRow>>,
}
