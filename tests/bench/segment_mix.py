"""Segment definitions as a shop's marketers write them, each as segment language and as the SQL of a careful analyst.

A definition is a small tree; `language` and `sql` write the same tree, so that what Alluvial and DuckDB are asked never
differs by hand. `definitions` draws as many as are wanted, always the same ones for the same shop.
"""

import dataclasses
import datetime
import random

# ── the tree ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclasses.dataclass(frozen=True)
class Day:
    """A whole day, that many after the as-of date."""

    after: int

    def language(self):
        return f"{self.after:+}d" if self.after else "today"

    def date(self, as_of):
        return as_of + datetime.timedelta(days=self.after)


@dataclasses.dataclass(frozen=True)
class Date:
    """A whole day."""

    day: datetime.date

    def language(self):
        return self.day.isoformat()

    def date(self, _):
        return self.day


@dataclasses.dataclass(frozen=True)
class Test:
    """What a clause or a parameter asks: `op` is a comparison, `between`, `in` or `contains`."""

    name: str
    op: str
    values: tuple

    def language(self):
        written = [written_value(value) for value in self.values]
        if self.op == "between":
            return f"{self.name} BETWEEN {written[0]} AND {written[1]}"
        if self.op == "in":
            return f"{self.name} IN ({', '.join(written)})"
        return f"{self.name} {self.op.upper()} {written[0]}"

    def sql(self, column, kind, as_of):
        if isinstance(self.values[0], (Day, Date)):
            return self.sql_of_days(column, as_of)
        values = [sql_value(value) for value in self.values]
        if kind == "path":
            # A category and all that is below it.
            below = [f"{column} = {value} OR starts_with({column}, {value} || ' > ')" for value in values]
            return f"({' OR '.join(below)})"
        if kind == "list":
            return f"list_contains({column}, {values[0]})"
        if self.op == "between":
            return f"{column} BETWEEN {values[0]} AND {values[1]}"
        if self.op == "in":
            return f"{column} IN ({', '.join(values)})"
        return f"{column} {self.op} {values[0]}"

    def sql_of_days(self, column, as_of):
        def start(day, later=0):
            return f"TIMESTAMPTZ '{day.date(as_of) + datetime.timedelta(days=later)}'"

        first, last = self.values[0], self.values[-1]
        since, until = f"{column} >= {start(first)}", f"{column} < {start(last, 1)}"
        return {
            ">=": since,
            ">": f"{column} >= {start(first, 1)}",
            "<": f"{column} < {start(first)}",
            "<=": until,
            "=": f"{since} AND {until}",
            "between": f"{since} AND {until}",
        }[self.op]


def written_value(value):
    if isinstance(value, (Day, Date)):
        return value.language()
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return str(value).lower()


def sql_value(value):
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value).lower()


@dataclasses.dataclass(frozen=True)
class Attribute:
    """A clause over a column of the profile."""

    test: Test

    def language(self):
        return self.test.language()

    def sql(self, as_of):
        column = {"customer_added_date": "created_at", "customer_tags": "tags"}.get(self.test.name, self.test.name)
        column = "p." + column.removeprefix("properties.")
        test = self.test
        if test.name.endswith("_subscription_status"):
            # Written in capitals, as Shopify does; the profile has them in lower case.
            test = dataclasses.replace(test, values=tuple(value.lower() for value in test.values))
        return test.sql(column, "list" if test.op == "contains" else "value", as_of)


@dataclasses.dataclass(frozen=True)
class Rows:
    """A function: a test of a customer's rows of one table."""

    function: str
    tests: tuple
    negated: bool = False

    def language(self):
        negation = "NOT " if self.negated else ""
        return f"{self.function} {negation}MATCHES ({', '.join(test.language() for test in self.tests)})"

    def sql(self, as_of):
        table, always, columns = FUNCTIONS[self.function]
        where = list(always)
        having = []
        for test in self.tests:
            if test.name in AGGREGATES:
                having.append(test.sql(AGGREGATES[test.name], "value", as_of))
            else:
                column, kind = columns.get(test.name, (test.name, "value"))
                where.append(test.sql(f"r.{column}", kind, as_of))
        rows = f"SELECT r.customer_id FROM {table} r"
        if where:
            rows += " WHERE " + " AND ".join(where)
        if having:
            rows += " GROUP BY r.customer_id HAVING " + " AND ".join(having)
        return f"p.customer_id {'NOT ' if self.negated else ''}IN ({rows})"


@dataclasses.dataclass(frozen=True)
class Member:
    """Membership of another segment."""

    segment: str

    def language(self):
        return f"segment('{self.segment}')"

    def sql(self, _):
        return f"p.customer_id IN (SELECT m.customer_id FROM segment_members m WHERE m.segment = '{self.segment}')"


@dataclasses.dataclass(frozen=True)
class Anniversary:
    """The month and day of a date fall into the days from today on."""

    attribute: str
    days: int

    def language(self):
        return f"anniversary('{self.attribute}') BETWEEN today AND {Day(self.days).language()}"

    def sql(self, as_of):
        days = ", ".join(f"'{Day(after).date(as_of):%m-%d}'" for after in range(self.days + 1))
        return f"strftime(p.{self.attribute}, '%m-%d') IN ({days})"


@dataclasses.dataclass(frozen=True)
class Joined:
    """All or any of several."""

    word: str
    parts: tuple

    def language(self):
        return f" {self.word} ".join(enclosed(part, part.language()) for part in self.parts)

    def sql(self, as_of):
        return f" {self.word} ".join(enclosed(part, part.sql(as_of)) for part in self.parts)


@dataclasses.dataclass(frozen=True)
class Not:
    """The exact complement."""

    part: object

    def language(self):
        return f"NOT {enclosed(self.part, self.part.language())}"

    def sql(self, as_of):
        return f"({self.part.sql(as_of)}) IS NOT TRUE"


def enclosed(part, text):
    return f"({text})" if isinstance(part, Joined) else text


def query(tree, as_of):
    """The members of a segment, by hand."""
    return f"SELECT p.customer_id FROM profile p WHERE {tree.sql(as_of)}"


AGGREGATES = {"count": "count(*)", "sum_amount": "sum(r.amount)", "sum_quantity": "sum(r.quantity)"}

ITEM = {"id": ("product_id", "value"), "date": ("ordered_at", "value"), "category": ("category", "path"), "tag": ("labels", "list"), "collection": ("collections", "list")}
ORDER = {"date": ("ordered_at", "value"), "coupon": ("coupon_codes", "list")}
EVENT = {
    "id": ("product_id", "value"),
    "date": ("occurred_at", "value"),
    "category": ("category", "path"),
    "tag": ("labels", "list"),
    "term": ("search_term", "value"),
    "activity_id": ("campaign_id", "value"),
    "coupon": ("coupon_code", "value"),
}
NO_ORDER_SINCE = "NOT EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = r.customer_id AND o.status <> 'cancelled' AND o.ordered_at >= r.occurred_at)"
NOT_REMOVED = (
    "NOT EXISTS (SELECT 1 FROM events x WHERE x.type = 'removed_from_cart' AND x.customer_id = r.customer_id"
    " AND x.product_id = r.product_id AND x.occurred_at > r.occurred_at)"
)


def of_type(kind, *more):
    return "events", (f"r.type = '{kind}'", *more), EVENT


FUNCTIONS = {
    "products_purchased": ("items", (), ITEM),
    "products_returned": ("items", ("r.returned > 0",), ITEM),
    "orders_placed": ("orders", ("r.is_counted",), ORDER),
    "orders_cancelled": ("orders", ("r.status = 'cancelled'",), ORDER),
    "events": ("events", (), EVENT),
    "storefront.product_viewed": of_type("product_viewed"),
    "storefront.collection_viewed": of_type("category_viewed"),
    "storefront.page_viewed": of_type("page_viewed"),
    "storefront.searched": of_type("searched"),
    "storefront.cart_added": of_type("added_to_cart"),
    "storefront.checkout_started": of_type("checkout_started"),
    "shopify_email.opened": of_type("email_opened"),
    "shopify_email.clicked": of_type("email_clicked"),
    "shopify_email.delivered": of_type("email_delivered"),
    "sms.clicked": of_type("sms_clicked"),
    "sms.delivered": of_type("sms_delivered"),
    "coupons.received": of_type("coupon_received"),
    "coupons.clicked": of_type("coupon_clicked"),
    "carts_abandoned": of_type("added_to_cart", NO_ORDER_SINCE, NOT_REMOVED),
    "checkouts_abandoned": of_type("checkout_started", NO_ORDER_SINCE),
    "views_abandoned": of_type("product_viewed", NO_ORDER_SINCE),
}

# ── writing it down ──────────────────────────────────────────────────────────────────────────────────────────────────


def has(name, op, *values):
    return Attribute(Test(name, op, values))


def matches(function, *tests):
    return Rows(function, tuple(tests))


def matches_not(function, *tests):
    return Rows(function, tuple(tests), negated=True)


def ask(name, op, *values):
    return Test(name, op, values)


def since(days):
    return Test("date", ">=", (Day(-days),))


def within(first, last):
    """From `first` to `last` days ago."""
    return Test("date", "between", (Day(-first), Day(-last)))


def both(*parts):
    return Joined("AND", parts)


def either(*parts):
    return Joined("OR", parts)


# ── what a shop's marketers ask ──────────────────────────────────────────────────────────────────────────────────────


@dataclasses.dataclass
class Shop:
    """What there is to ask for. Each list has what is most common first."""

    categories: list
    brands: list
    labels: list
    collections: list
    products: list
    terms: list
    coupons: list
    sources: list
    cities: list
    campaigns: list
    """(id, days before the as-of date), the newest first"""
    texts: list
    """text campaigns, like the others"""


class Draw:
    """Choices for definitions, by a seed."""

    def __init__(self, shop, seed):
        self.shop = shop
        self.random = random.Random(seed)
        self.earlier = []

    def of(self, *options):
        return self.random.choice(options)

    def category(self):
        """A category, or one of the two levels above it."""
        levels = self.of(*self.shop.categories).split(" > ")
        return " > ".join(levels[: self.random.choice((len(levels), len(levels), 2))])

    def shelf(self):
        return self.of(*self.shop.categories)

    def brand(self):
        return self.of(*self.shop.brands)

    def product(self):
        return self.of(*self.shop.products[:120])

    def campaign(self, within_days=400):
        return self.of(*[campaign for campaign, days in self.shop.campaigns if days <= within_days])

    def segment(self):
        """A segment that was defined before."""
        return Member(self.of(*self.earlier))


def with_attributes(d):
    """Definitions over the profile alone."""
    o = d.of
    days = o(30, 45, 60, 90, 120, 180)
    month = o(1, 2, 3, 4, 5, 6, 7)
    recent = has("last_order_date", ">=", Day(-days))
    subscribed = has("email_subscription_status", "=", "SUBSCRIBED")
    country = o("DK", "DK", "SE", "NO", "DE")
    return [
        ("repeat-buyers", both(has("number_of_orders", ">=", o(2, 3, 4, 5)), recent)),
        ("big-spenders", both(has("amount_spent", ">=", o(2500, 4000, 6000, 10000)), has("country", "=", country))),
        ("new-subscribers", both(subscribed, has("number_of_orders", "=", 0), has("customer_added_date", ">=", Day(-days)))),
        ("rfm", both(has("rfm_group", "in", *o(("champions", "loyal"), ("at_risk", "previously_loyal"), ("new", "promising"), ("needs_attention",))), has("country", "=", country))),
        ("vip-tag", both(has("customer_tags", "contains", o("vip", "b2b", "press", "wholesale")), has("number_of_orders", ">=", 1))),
        ("sale-alerts", both(has("lists", "contains", "sale-alerts"), has("country", "=", country), has("number_of_orders", ">=", o(0, 1, 2)))),
        ("birthdays", both(Anniversary("birthday", o(7, 14, 21)), subscribed)),
        ("lapsed-fans", both(has("last_order_date", "between", Day(-365), Day(-days - 60)), has("favorite_category", "=", d.shelf()))),
        ("brand-lovers", both(has("favorite_brand", "=", d.brand()), has("amount_spent", ">", o(1500, 2500, 4000)))),
        ("big-baskets", both(has("average_order_amount", ">=", o(1500, 2000, 3000)), has("last_order_date", ">=", Day(-days)))),
        ("unhappy", either(both(has("negative_reviews", ">=", 1), recent), has("cancelled_orders", ">=", o(1, 2)), has("items_returned", ">=", o(2, 3, 4)))),
        ("points", both(has("properties.loyalty_points", ">=", o(80, 120, 160)), has("membership", "in", *o(("Silver", "Gold"), ("Bronze",), ("Gold", "Platinum"))))),
        ("big-feet", both(has("properties.shoe_size", "between", o(36, 38, 42), o(43, 45, 46)), has("gender", "=", o("female", "male")))),
        ("left-cart", both(has("abandoned_cart_date", ">=", Day(-o(3, 7, 14, 30))), has("email_reachable", "=", True))),
        ("readers", both(has("email_clicks_90d", ">=", o(1, 2)), has("email_opens_90d", ">=", o(2, 4)), has("number_of_orders", "<=", o(0, 1, 3)))),
        ("coupon-hunters", both(has("coupons_used", ">=", o(1, 2)), has("discount_amount", ">=", o(100, 300)), recent)),
        ("registered-in", has("customer_added_date", "between", Date(datetime.date(2025, month, o(1, 5, 11, 16))), Date(datetime.date(2025, month + o(0, 1, 2), o(20, 24, 28))))),
        ("city", both(has("city", "=", o(*d.shop.cities)), has("number_of_orders", ">=", o(1, 2)), Not(has("gender", "=", o("male", "female"))))),
        ("top-percent", both(has("amount_spent_percentile", ">=", o(80, 90, 95)), has("store", "=", o("nordic", "international")), Not(recent))),
        ("browsers", both(has("product_views_30d", ">=", o(2, 3, 5)), has("last_seen_date", ">=", Day(-14)), has("number_of_orders", "=", 0))),
        ("slow-buyers", both(has("average_days_between_orders", ">", o(60, 90, 120)), has("days_since_last_order", "between", 30, o(200, 300)))),
        ("sms-only", both(has("sms_subscription_status", "=", "SUBSCRIBED"), has("email_subscription_status", "!=", "SUBSCRIBED"), has("registration_source", "in", "store", "app", o("checkout", "footer")))),
        ("languages", both(has("language", "in", *o(("sv", "nb"), ("de", "nl"), ("en",))), has("number_of_orders", ">=", 1), subscribed)),
        ("nearly-vip", both(either(has("amount_spent", "between", o(3000, 4000), o(5000, 6000)), has("number_of_orders", "between", 4, o(5, 6))), has("membership", "in", "Bronze", "Silver", "Gold"))),
    ]


def with_functions(d):
    """Definitions that look at orders, lines and events."""
    o = d.of
    category, shelf, brand, product = d.category(), d.shelf(), d.brand(), d.product()
    days = o(30, 45, 60, 90, 120, 180)
    long = o(180, 270, 365, 540)
    label, coupon = o(*d.shop.labels), o(*d.shop.coupons)
    subscribed = has("email_subscription_status", "=", "SUBSCRIBED")
    in_category, in_shelf = ask("category", "=", category), ask("category", "=", shelf)
    return [
        ("category-fans", matches("products_purchased", in_shelf, since(long), ask("count", ">=", o(1, 2, 2, 3)))),
        ("brand-spend", matches("products_purchased", ask("brand", "=", brand), since(long), ask("sum_amount", ">=", o(800, 1500, 2500)))),
        ("bought-product", both(matches("products_purchased", ask("id", "=", product)), matches_not("products_purchased", ask("id", "=", product), since(o(14, 30, 60))))),
        ("bought-any-of", matches("products_purchased", ask("id", "in", *dict.fromkeys(d.product() for _ in range(6))), since(long))),
        ("label-buyers", both(matches("products_purchased", ask("tag", "=", label), since(days), ask("sum_quantity", ">=", o(1, 2, 3))), subscribed)),
        ("cross-sell", both(matches("products_purchased", in_category, since(long)), matches_not("products_purchased", ask("category", "=", d.category())), has("email_reachable", "=", True))),
        ("spent-lately", matches("orders_placed", since(days), ask("sum_amount", ">=", o(1500, 2500, 4000)))),
        ("cart-adders", both(matches("storefront.cart_added", in_category, since(days), ask("count", ">=", o(1, 2))), matches_not("products_purchased", in_category, since(days)))),
        ("often-lately", matches("orders_placed", within(long, 30), ask("count", ">=", o(2, 3)))),
        ("one-big-order", both(matches("orders_placed", ask("amount", ">=", o(2500, 4000)), since(long)), has("country", "in", "DK", o("SE", "NO")))),
        ("channel", both(matches("orders_placed", ask("channel", "=", o("app", "pos", "subscription")), since(long)), matches_not("orders_placed", ask("channel", "=", "web"), since(days)))),
        ("coupon-users", matches("orders_placed", ask("coupon", "=", coupon), since(long))),
        ("viewed-not-bought", both(matches("storefront.product_viewed", in_shelf, since(days), ask("count", ">=", o(1, 2))), matches_not("products_purchased", in_shelf, since(days)))),
        ("viewed-product", both(matches("storefront.product_viewed", ask("id", "=", product), since(long)), matches_not("products_purchased", ask("id", "=", product)))),
        ("collection-viewers", matches("storefront.collection_viewed", in_shelf, since(days), ask("count", ">=", o(1, 1, 2)))),
        ("searched", both(matches("storefront.searched", ask("term", "=", o(*d.shop.terms)), since(days)), matches_not("orders_placed", since(o(7, 14, 30))))),
        ("from-source", both(matches("storefront.page_viewed", ask("source", "=", o(*d.shop.sources)), since(days), ask("count", ">=", o(1, 2, 3))), subscribed)),
        ("opened-campaign", matches("shopify_email.opened", ask("activity_id", "=", d.campaign()))),
        ("clicked-not-bought", both(matches("shopify_email.clicked", since(days), ask("count", ">=", o(1, 2))), matches_not("orders_placed", since(days)))),
        ("never-opens", both(matches("shopify_email.delivered", since(days), ask("count", ">=", o(2, 3, 5))), matches_not("shopify_email.opened", since(long)), has("number_of_orders", ">=", o(0, 1, 2)))),
        ("clicked-campaigns", matches("shopify_email.clicked", ask("activity_id", "in", *dict.fromkeys(d.campaign(700) for _ in range(5))))),
        ("abandoned-cart", both(matches("carts_abandoned", since(o(3, 7, 14, 30)), in_category), subscribed)),
        ("abandoned-checkout", matches("checkouts_abandoned", within(o(14, 30, 60), o(0, 1, 2)))),
        ("viewed-since-order", both(matches("views_abandoned", ask("category", "=", category), since(o(14, 30, 60)), ask("count", ">=", o(1, 2))), has("number_of_orders", ">=", 1))),
        ("wished", matches("events", ask("type", "=", "wishlist_added"), since(long))),
        ("reviewers", both(matches("events", ask("type", "=", "review_submitted"), ask("rating", ">=", o(4, 5)), since(long)), has("number_of_orders", ">=", o(1, 2)))),
        ("subscriptions-cancelled", both(matches("events", ask("type", "=", "subscription_cancelled"), since(long)), matches_not("events", ask("type", "=", "subscription_started"), since(o(30, 60))))),
        ("unused-coupon", both(matches("coupons.received", ask("coupon", "=", coupon), since(long)), matches_not("orders_placed", ask("coupon", "=", coupon)))),
        ("coupon-clickers", both(matches("coupons.clicked", since(long)), has("number_of_orders", "<=", o(0, 1, 2)))),
        ("returns", both(matches("products_returned", in_category, ask("count", ">=", 1)), has("number_of_orders", ">=", o(1, 2, 3)))),
        ("cancelled", both(matches("orders_cancelled", since(long)), matches_not("orders_placed", since(o(30, 60))))),
        ("reorder", both(matches("products_purchased", in_shelf, within(o(90, 120, 180), o(30, 45))), matches_not("products_purchased", in_shelf, since(o(29, 30))))),
        ("lapsing-value", both(matches("orders_placed", within(540, days), ask("sum_amount", ">=", o(2500, 4000, 6000))), matches_not("orders_placed", since(days - 1)))),
        ("texts-clicked", both(matches("sms.clicked", since(long)), has("sms_reachable", "=", True))),
        ("text-campaign", both(matches("sms.delivered", ask("activity_id", "=", o(*d.shop.texts)[0])), matches_not("sms.clicked", since(days)))),
        ("among", both(d.segment(), matches("storefront.product_viewed", since(days), ask("count", ">=", o(1, 2, 3))))),
        ("not-among", both(matches("products_purchased", in_category, since(long)), Not(d.segment()), Not(d.segment()))),
        ("label-viewers", both(matches("storefront.product_viewed", ask("tag", "=", label), since(days)), matches_not("products_purchased", ask("tag", "=", label)))),
        ("checkout-starters", both(matches("storefront.checkout_started", since(days), ask("count", ">=", o(1, 2))), either(has("rfm_group", "in", "prospects", "new", "promising"), has("membership", "=", "Bronze")))),
        ("collection-buyers", both(matches("products_purchased", ask("collection", "=", o(*d.shop.collections)), ask("amount", ">=", o(500, 800)), since(long)), has("country", "=", o("DK", "SE", "NO")))),
        ("either-way", both(either(matches("products_purchased", ask("brand", "=", brand), since(long)), matches("storefront.product_viewed", in_shelf, since(o(7, 14, 30)))), subscribed)),
    ]


def definitions(shop, count, seed=3):
    """`count` definitions as (id, name, tree): of every three two have functions, every kind comes equally often, and a
    segment refers to earlier ones only, so that the first ones by themselves are a project, too."""
    draw = Draw(shop, seed)
    drawn = {}
    turns = {with_attributes: 0, with_functions: 0}
    while len(drawn) < count:
        family = with_attributes if len(drawn) % 3 == 0 else with_functions
        draw.earlier = [identifier for identifier, _, _ in list(drawn.values())[-30:]]
        options = family(draw)
        # 7 and the number of kinds have no common divisor: a few definitions already show many kinds of use.
        name, tree = options[turns[family] * 7 % len(options)]
        turns[family] += 1
        written = tree.language()
        if written not in drawn:
            number = len(drawn) + 1
            drawn[written] = (f"seg-{number:04}", f"{name} {number}", tree)
    return list(drawn.values())
