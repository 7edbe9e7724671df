-- The customer profile as of a day, from landed Parquet, as one would write it by hand for DuckDB: what `profile.py`
-- measures Alluvial against. Every column of the contract's chapter 3 but the model-based ones.
--
-- The variables `landing`, `as_of` and `currency` are set before, and the session's TimeZone is the shop's, so that a
-- date is a local day. Statements are run one by one; the last one is the profile. A comment `/*NAME*/` is where
-- `segments.py` asks for more columns of that table.

SET VARIABLE cutoff = (getvariable('as_of')::DATE + 1)::TIMESTAMPTZ;
SET VARIABLE days_30 = (getvariable('as_of')::DATE - 29)::TIMESTAMPTZ;
SET VARIABLE days_90 = (getvariable('as_of')::DATE - 89)::TIMESTAMPTZ;

-- ── customers ──────────────────────────────────────────────────────────────────────────────────────────────────────

-- A consent that is none of the known ones counts as missing.
CREATE TEMP TABLE customer_versions AS
SELECT * EXCLUDE (updated_at, dt)
         REPLACE (CASE WHEN lower(email_consent) IN ('subscribed', 'unsubscribed', 'pending', 'never') THEN lower(email_consent) END AS email_consent),
       coalesce(updated_at, (dt + 1)::TIMESTAMPTZ) AS version_at
FROM read_parquet(getvariable('landing') || '/customers/**/*.parquet', union_by_name = true, hive_partitioning = true, filename = true, file_row_number = true)
WHERE customer_id IS NOT NULL;

-- A new opt-in is a version that became subscribed from something else.
CREATE TEMP TABLE resubscribed AS
SELECT customer_id, max(version_at) AS resubscribed_at
FROM (
  SELECT customer_id, version_at, email_consent,
         lag(email_consent) OVER w AS before, row_number() OVER w AS nth
  FROM customer_versions
  WHERE version_at <= getvariable('cutoff')
  WINDOW w AS (PARTITION BY customer_id ORDER BY version_at, filename, file_row_number)
)
WHERE nth > 1 AND email_consent = 'subscribed' AND before IS DISTINCT FROM 'subscribed'
GROUP BY customer_id;

-- Here and below: most ids are landed once, so only the others are sorted.
CREATE TEMP TABLE landed_customers AS
WITH repeated AS (SELECT customer_id FROM customer_versions GROUP BY customer_id HAVING count(*) > 1)
SELECT * EXCLUDE (filename, file_row_number, email, phone, country), nullif(trim(email), '') AS email, nullif(trim(phone), '') AS phone,
       CASE lower(country)
         WHEN 'denmark' THEN 'DK' WHEN 'dnk' THEN 'DK' WHEN 'sweden' THEN 'SE' WHEN 'swe' THEN 'SE' WHEN 'norway' THEN 'NO' WHEN 'nor' THEN 'NO'
         WHEN 'germany' THEN 'DE' WHEN 'deu' THEN 'DE' WHEN 'united kingdom' THEN 'GB' WHEN 'gbr' THEN 'GB' WHEN 'netherlands' THEN 'NL' WHEN 'nld' THEN 'NL'
         WHEN 'united states' THEN 'US' WHEN 'usa' THEN 'US' ELSE upper(country) END AS country
FROM (
  SELECT * FROM customer_versions WHERE customer_id NOT IN (FROM repeated)
  UNION ALL
  SELECT * FROM customer_versions WHERE customer_id IN (FROM repeated)
  QUALIFY row_number() OVER (
    PARTITION BY customer_id
    ORDER BY version_at <= getvariable('cutoff') DESC, CASE WHEN version_at <= getvariable('cutoff') THEN version_at END DESC NULLS LAST,
             version_at, filename DESC, file_row_number DESC) = 1
);

DROP TABLE customer_versions;

-- ── who is whom ────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TEMP TABLE links AS
SELECT anonymous_id AS id, customer_id AS root
FROM read_parquet(getvariable('landing') || '/identities/**/*.parquet', union_by_name = true, filename = true, file_row_number = true)
WHERE anonymous_id IS NOT NULL AND customer_id IS NOT NULL AND anonymous_id <> customer_id AND linked_at < getvariable('cutoff')
QUALIFY row_number() OVER (PARTITION BY anonymous_id ORDER BY linked_at DESC, filename DESC, file_row_number DESC) = 1;

-- A visitor may be linked to a customer that was merged into another.
CREATE TEMP TABLE roots AS
SELECT a.id, coalesce(c.root, b.root, a.root) AS root
FROM links a LEFT JOIN links b ON b.id = a.root LEFT JOIN links c ON c.id = b.root;

-- Landed customers that were merged into another, with the time since which they exist.
CREATE TEMP TABLE merged AS
SELECT r.id, r.root, coalesce(c.created_at, c.email_subscribed_at, c.email_consent_at, c.version_at) AS since_at
FROM landed_customers c JOIN roots r ON r.id = c.customer_id;

-- ── orders ─────────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TEMP TABLE rates AS
SELECT upper(currency) AS currency, date, arg_max(rate, (filename, file_row_number)) AS rate
FROM read_parquet(getvariable('landing') || '/rates/**/*.parquet', union_by_name = true, filename = true, file_row_number = true)
GROUP BY ALL;

CREATE TEMP TABLE order_versions AS
SELECT order_id, ordered_at, updated_at, total, discount, refunded, refunded_at, coupon_codes, test, filename, file_row_number,
       CASE lower(trim(coalesce(status, 'paid')))
         WHEN 'paid' THEN 'paid' WHEN 'completed' THEN 'paid' WHEN 'processing' THEN 'paid' WHEN 'fulfilled' THEN 'paid'
         WHEN 'authorized' THEN 'paid' WHEN 'partially_paid' THEN 'paid'
         WHEN 'pending' THEN 'pending' WHEN 'on-hold' THEN 'pending' WHEN 'draft' THEN 'pending'
         WHEN 'cancelled' THEN 'cancelled' WHEN 'canceled' THEN 'cancelled' WHEN 'voided' THEN 'cancelled' WHEN 'failed' THEN 'cancelled'
         WHEN 'expired' THEN 'cancelled'
         WHEN 'refunded' THEN 'refunded' WHEN 'partially_refunded' THEN 'partially_refunded' END AS meaning,
       nullif(upper(currency), getvariable('currency')) AS foreign_currency,
       nullif(lower(trim(email)), '') AS email, nullif(trim(phone), '') AS phone,
       nullif(nullif(trim(customer_id), ''), '0') AS customer_id,
       coalesce(updated_at, (dt + 1)::TIMESTAMPTZ) AS version_at /*order_versions*/
FROM read_parquet(getvariable('landing') || '/orders/**/*.parquet', union_by_name = true, hive_partitioning = true, filename = true, file_row_number = true)
WHERE order_id IS NOT NULL AND total >= 0 AND ordered_at < getvariable('cutoff')
  AND meaning IS NOT NULL AND (foreign_currency IS NULL OR foreign_currency IN (SELECT currency FROM rates));

-- Whose an address is: the customer's who exists before the cutoff and was created first, deleted ones last.
CREATE TEMP TABLE addresses AS
WITH persons AS (
  SELECT coalesce(r.root, c.customer_id) AS customer_id, lower(c.email) AS email, c.phone,
         coalesce(c.created_at, c.email_subscribed_at, c.email_consent_at, c.version_at) AS since_at,
         r.root IS NULL AND coalesce(c.deleted_at < getvariable('cutoff'), false) AS is_deleted
  FROM landed_customers c LEFT JOIN roots r ON r.id = c.customer_id
  WHERE since_at < getvariable('cutoff') OR c.customer_id IN (SELECT customer_id FROM order_versions WHERE test IS NOT TRUE)
)
SELECT kind, address, arg_min(customer_id, (is_deleted, since_at IS NULL, since_at, customer_id)) AS customer_id
FROM (
  SELECT 'email' AS kind, email AS address, customer_id, since_at, is_deleted FROM persons WHERE email IS NOT NULL
  UNION ALL
  SELECT 'phone', phone, customer_id, since_at, is_deleted FROM persons WHERE phone IS NOT NULL
)
GROUP BY kind, address;

CREATE TEMP TABLE orders AS
WITH repeated AS (SELECT order_id FROM order_versions GROUP BY order_id HAVING count(*) > 1),
newest AS (
  SELECT * FROM order_versions WHERE order_id NOT IN (FROM repeated)
  UNION ALL
  SELECT * FROM order_versions WHERE order_id IN (FROM repeated)
  QUALIFY row_number() OVER (
    PARTITION BY order_id
    ORDER BY version_at <= getvariable('cutoff') DESC, CASE WHEN version_at <= getvariable('cutoff') THEN version_at END DESC NULLS LAST,
             version_at, filename DESC, file_row_number DESC) = 1
),
rated AS (
  SELECT n.*, n.meaning AS status, n.ordered_at::DATE AS ordered_on, coalesce(x.rate, 1) AS rate
  FROM newest n ASOF LEFT JOIN rates x ON x.currency = n.foreign_currency AND x.date <= n.ordered_at::DATE
  WHERE test IS NOT TRUE
),
money AS (
  SELECT *, round(total * rate, 2)::DECIMAL(18, 2) AS total_here, round(coalesce(discount, 0) * rate, 2)::DECIMAL(18, 2) AS discount_here,
         CASE WHEN refunded_at >= getvariable('cutoff') THEN 0
              WHEN refunded IS NULL AND status = 'refunded' THEN round(total * rate, 2)
              ELSE round(coalesce(refunded, 0) * rate, 2) END::DECIMAL(18, 2) AS refunded_here
  FROM rated
)
SELECT o.order_id, o.ordered_at, o.ordered_on, o.status, o.status IN ('paid', 'refunded', 'partially_refunded') AS is_counted,
       o.total_here - o.refunded_here AS net_amount, o.discount_here AS discount, o.refunded_here AS refunded, coalesce(len(o.coupon_codes), 0) AS coupons,
       coalesce(r.root, o.customer_id, e.customer_id, p.customer_id, 'guest:' || coalesce(o.email, o.phone)) AS customer_id /*orders*/
FROM money o
LEFT JOIN roots r ON r.id = o.customer_id
LEFT JOIN addresses e ON o.customer_id IS NULL AND e.kind = 'email' AND e.address = o.email
LEFT JOIN addresses p ON o.customer_id IS NULL AND p.kind = 'phone' AND p.address = o.phone
WHERE coalesce(o.customer_id, o.email, o.phone) IS NOT NULL;

DROP TABLE order_versions;

CREATE TEMP TABLE order_stats AS
SELECT customer_id,
       min(ordered_at) AS first_any_at, max(ordered_at) FILTER (status <> 'cancelled') AS last_open_at,
       count(*) FILTER (is_counted) AS number_of_orders, sum(net_amount) FILTER (is_counted) AS amount_spent,
       max(net_amount) FILTER (is_counted) AS highest_order_amount,
       min(ordered_at) FILTER (is_counted) AS first_order_date, max(ordered_at) FILTER (is_counted) AS last_order_date,
       sum(discount) FILTER (is_counted) AS discount_amount, sum(refunded) FILTER (is_counted) AS refunded_amount,
       sum(coupons) FILTER (is_counted) AS coupons_used, count(*) FILTER (status = 'cancelled') AS cancelled_orders
FROM orders
GROUP BY customer_id;

-- ── order lines ────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TEMP TABLE products AS
SELECT product_id, category, brand /*products*/
FROM read_parquet(getvariable('landing') || '/products/**/*.parquet', union_by_name = true, hive_partitioning = true, filename = true, file_row_number = true)
WHERE product_id IS NOT NULL
QUALIFY row_number() OVER (
  PARTITION BY product_id
  ORDER BY coalesce(updated_at, (dt + 1)::TIMESTAMPTZ) <= getvariable('cutoff') DESC, coalesce(updated_at, (dt + 1)::TIMESTAMPTZ) DESC,
           filename DESC, file_row_number DESC) = 1;

-- The lines of an order are a set: those of its newest version; a line number that comes twice in it is one line.
CREATE TEMP TABLE line_versions AS
SELECT order_id, line, product_id, category, brand, coalesce(quantity, 1) AS quantity,
       CASE WHEN returned_at >= getvariable('cutoff') THEN 0 ELSE coalesce(returned_quantity, 0) END AS returned,
       coalesce(updated_at, (dt + 1)::TIMESTAMPTZ) AS version_at, filename, file_row_number /*line_versions*/
FROM read_parquet(getvariable('landing') || '/order_items/**/*.parquet', union_by_name = true, hive_partitioning = true, filename = true, file_row_number = true)
WHERE order_id IS NOT NULL AND product_id IS NOT NULL AND coalesce(quantity, 1) >= 0;

CREATE TEMP TABLE items AS
WITH repeated AS (
  SELECT order_id, coalesce(max(version_at) FILTER (version_at <= getvariable('cutoff')), min(version_at)) AS winner
  FROM line_versions GROUP BY order_id HAVING min(version_at) < max(version_at) OR count(*) > count(DISTINCT line)
)
SELECT o.customer_id, o.ordered_at, i.product_id, coalesce(i.category, p.category) AS category, coalesce(i.brand, p.brand) AS brand,
       i.quantity, i.returned /*items*/
FROM (
  SELECT * FROM line_versions WHERE order_id NOT IN (SELECT order_id FROM repeated)
  UNION ALL
  SELECT v.* FROM line_versions v JOIN repeated r ON r.order_id = v.order_id AND r.winner = v.version_at
  QUALIFY row_number() OVER (PARTITION BY v.order_id, v.line ORDER BY v.filename DESC, v.file_row_number DESC) = 1
) i
JOIN orders o ON o.order_id = i.order_id AND o.is_counted
LEFT JOIN products p ON p.product_id = i.product_id;

DROP TABLE line_versions;

CREATE TEMP TABLE item_stats AS
SELECT customer_id, sum(quantity) AS items_bought, sum(returned) AS items_returned,
       count(DISTINCT category) AS categories_bought, count(DISTINCT product_id) AS products_bought
FROM items
GROUP BY customer_id;

CREATE TEMP TABLE favorites AS
WITH bought AS (
  SELECT customer_id, 'category' AS kind, category AS name, sum(quantity) AS bought, max(ordered_at) AS last_at
  FROM items WHERE category IS NOT NULL GROUP BY customer_id, category
  UNION ALL
  SELECT customer_id, 'brand', brand, sum(quantity), max(ordered_at) FROM items WHERE brand IS NOT NULL GROUP BY customer_id, brand
),
best AS (
  SELECT customer_id, kind, name FROM bought
  QUALIFY row_number() OVER (PARTITION BY customer_id, kind ORDER BY bought DESC, last_at DESC, name) = 1
)
SELECT customer_id, max(name) FILTER (kind = 'category') AS favorite_category, max(name) FILTER (kind = 'brand') AS favorite_brand
FROM best GROUP BY customer_id;

DROP TABLE items;

-- ── events ─────────────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TEMP VIEW landed_events AS
SELECT event_id, occurred_at, type, customer_id, anonymous_id, product_id, rating, machine, bounce /*landed_events*/
FROM read_parquet(getvariable('landing') || '/events/**/*.parquet', union_by_name = true)
WHERE event_id IS NOT NULL AND occurred_at < getvariable('cutoff');

-- Few events are landed twice: only those are sorted out, the others are read as they lie.
CREATE TEMP TABLE repeated AS
SELECT event_id FROM landed_events GROUP BY event_id HAVING count(*) > 1;

CREATE TEMP TABLE settled AS
SELECT event_id, occurred_at, type, customer_id, anonymous_id, product_id, rating, machine, bounce /*landed_events*/
FROM read_parquet(getvariable('landing') || '/events/**/*.parquet', union_by_name = true, hive_partitioning = true, filename = true, file_row_number = true)
WHERE event_id IN (FROM repeated) AND occurred_at < getvariable('cutoff')
QUALIFY row_number() OVER (
  PARTITION BY event_id
  ORDER BY (dt + 1)::TIMESTAMPTZ <= getvariable('cutoff') DESC, dt DESC, filename DESC, file_row_number DESC) = 1;

CREATE TEMP VIEW events AS
SELECT * FROM landed_events WHERE event_id NOT IN (FROM repeated)
UNION ALL
SELECT * FROM settled;

-- First by the id that the event has, then by person: so the big aggregation needs no join.
CREATE TEMP TABLE event_stats AS
WITH by_id AS (
  SELECT coalesce(customer_id, anonymous_id) AS id,
         max(occurred_at) FILTER (type IN ('page_viewed', 'product_viewed', 'category_viewed', 'searched', 'added_to_cart', 'checkout_started')) AS seen_at,
         max(occurred_at) FILTER (type = 'checkout_started') AS checkout_at,
         max(occurred_at) FILTER (type IN ('email_unsubscribed', 'email_marked_as_spam')) AS unsubscribed_at,
         max(occurred_at) FILTER (type = 'email_bounced' AND bounce = 'hard') AS bounced_at,
         count(*) FILTER (type = 'review_submitted' AND rating <= 3) AS negative_reviews,
         count(*) FILTER (type = 'email_opened' AND machine IS NOT TRUE AND occurred_at >= getvariable('days_90')) AS email_opens,
         count(*) FILTER (type = 'email_clicked' AND machine IS NOT TRUE AND occurred_at >= getvariable('days_90')) AS email_clicks,
         count(*) FILTER (type = 'page_viewed' AND occurred_at >= getvariable('days_30')) AS page_views,
         count(*) FILTER (type = 'product_viewed' AND occurred_at >= getvariable('days_30')) AS product_views
  FROM events
  GROUP BY id
)
SELECT coalesce(r.root, e.id) AS customer_id, max(seen_at) AS last_seen_date, max(checkout_at) AS checkout_at,
       max(unsubscribed_at) AS unsubscribed_at, max(bounced_at) AS bounced_at, sum(negative_reviews) AS negative_reviews,
       sum(email_opens) AS email_opens_90d, sum(email_clicks) AS email_clicks_90d, sum(page_views) AS page_views_30d,
       sum(product_views) AS product_views_30d
FROM by_id e LEFT JOIN roots r ON r.id = e.id
GROUP BY 1;

CREATE TEMP TABLE carts AS
SELECT customer_id, max(added_at) AS cart_at
FROM (
  SELECT coalesce(r.root, e.customer_id, e.anonymous_id) AS customer_id, e.product_id,
         max(e.occurred_at) FILTER (e.type = 'added_to_cart') AS added_at, max(e.occurred_at) FILTER (e.type = 'removed_from_cart') AS removed_at
  FROM events e LEFT JOIN roots r ON r.id = coalesce(e.customer_id, e.anonymous_id)
  WHERE e.type IN ('added_to_cart', 'removed_from_cart')
  GROUP BY ALL
)
WHERE removed_at IS NULL OR removed_at <= added_at
GROUP BY customer_id;

-- ── the profile ────────────────────────────────────────────────────────────────────────────────────────────────────

-- Somebody who was merged goes on as the other; where that one was never landed, with what is known of the first created.
CREATE TEMP TABLE people AS
SELECT coalesce(c.customer_id, o.customer_id) AS customer_id, c.* EXCLUDE (customer_id, created_at),
       coalesce(CASE WHEN c.created_at < getvariable('cutoff') THEN c.created_at END, o.first_any_at,
                CASE WHEN c.since_at < getvariable('cutoff') THEN c.since_at END, m.since_at) AS created_at,
       o.* EXCLUDE (customer_id)
FROM (
  SELECT *, coalesce(created_at, email_subscribed_at, email_consent_at, version_at) AS since_at
  FROM (
    SELECT * FROM landed_customers WHERE customer_id NOT IN (SELECT id FROM roots)
    UNION ALL
    SELECT c.* REPLACE (m.root AS customer_id)
    FROM landed_customers c JOIN merged m ON m.id = c.customer_id
    WHERE m.root NOT IN (SELECT customer_id FROM landed_customers)
    QUALIFY row_number() OVER (PARTITION BY m.root ORDER BY m.since_at NULLS LAST, m.id) = 1
  )
) c
FULL JOIN order_stats o ON o.customer_id = c.customer_id
LEFT JOIN (SELECT root, min(since_at) AS since_at FROM merged GROUP BY root) m ON m.root = c.customer_id
WHERE (c.deleted_at IS NULL OR c.deleted_at >= getvariable('cutoff'))
  AND (o.customer_id IS NOT NULL OR c.since_at IS NULL OR c.since_at < getvariable('cutoff') OR m.since_at < getvariable('cutoff'));

CREATE TEMP TABLE ranks AS
SELECT customer_id, CASE WHEN n = 1 THEN 0 ELSE 100.0::DOUBLE * spent / (n - 1) END AS amount_spent_percentile,
       1 + least(4, CASE WHEN n = 1 THEN 0 ELSE 5 * recent // (n - 1) END) AS rfm_recency,
       1 + least(4, CASE WHEN n = 1 THEN 0 ELSE 5 * often // (n - 1) END) AS rfm_frequency,
       1 + least(4, CASE WHEN n = 1 THEN 0 ELSE 5 * spent // (n - 1) END) AS rfm_monetary, (rfm_frequency + rfm_monetary + 1) // 2 AS fm
FROM (
  SELECT customer_id, count(*) OVER () AS n, rank() OVER (ORDER BY last_order_date::DATE) - 1 AS recent,
         rank() OVER (ORDER BY number_of_orders) - 1 AS often, rank() OVER (ORDER BY amount_spent) - 1 AS spent
  FROM people
  WHERE number_of_orders > 0
);

SELECT c.customer_id, c.created_at, c.store, c.gender, c.birthday, c.language, c.country, c.region, c.city, c.registration_source, c.membership,
       coalesce(c.tags, []) AS tags, coalesce(c.lists, []) AS lists, c.shoe_size, c.loyalty_points, c.preferred_store,
       CASE WHEN c.email_valid IS FALSE
              OR (v.bounced_at IS NOT NULL AND NOT coalesce(c.email_consent IN ('subscribed', 'pending') AND c.email_consent_at > v.bounced_at, false)
                  AND NOT coalesce(c.email_consent = 'subscribed' AND s.resubscribed_at > v.bounced_at, false)) THEN 'invalid'
            WHEN c.email_consent IN ('subscribed', 'pending') AND v.unsubscribed_at IS NOT NULL
             AND NOT coalesce(c.email_consent_at > v.unsubscribed_at, false) AND NOT coalesce(s.resubscribed_at > v.unsubscribed_at, false) THEN 'unsubscribed'
            WHEN c.email_consent IS NULL OR c.email_consent = 'never' THEN 'not_subscribed' ELSE c.email_consent END AS email_subscription_status,
       CASE WHEN c.phone_valid IS FALSE THEN 'invalid' WHEN c.sms_consent IS NULL OR c.sms_consent = 'never' THEN 'not_subscribed'
            ELSE c.sms_consent END AS sms_subscription_status,
       email_subscription_status = 'subscribed' AND c.email IS NOT NULL AS email_reachable,
       sms_subscription_status = 'subscribed' AND c.phone IS NOT NULL AS sms_reachable,
       coalesce(c.email_subscribed_at, CASE WHEN email_subscription_status = 'subscribed' THEN c.email_consent_at END) AS email_subscribed_date,
       CASE WHEN contains(c.email, '@') THEN lower(nullif(split_part(c.email, '@', -1), '')) END AS customer_email_domain,
       coalesce(c.number_of_orders, 0) AS number_of_orders, coalesce(c.amount_spent, 0)::DECIMAL(28, 2) AS amount_spent,
       CASE WHEN c.number_of_orders > 0
            THEN (((c.amount_spent * 100)::HUGEINT * 200 + c.number_of_orders) // (2 * c.number_of_orders) / 10000)::DECIMAL(18, 4) END AS average_order_amount,
       c.highest_order_amount, c.first_order_date, c.last_order_date,
       getvariable('as_of')::DATE - c.last_order_date::DATE AS days_since_last_order,
       CASE WHEN c.number_of_orders > 1
            THEN (epoch_us(c.last_order_date) - epoch_us(c.first_order_date)) / 86400000000.0::DOUBLE / (c.number_of_orders - 1) END AS average_days_between_orders,
       coalesce(c.discount_amount, 0)::DECIMAL(28, 2) AS discount_amount, coalesce(c.refunded_amount, 0)::DECIMAL(28, 2) AS refunded_amount,
       coalesce(c.coupons_used, 0)::BIGINT AS coupons_used,
       coalesce(i.items_bought, 0)::BIGINT AS items_bought, coalesce(i.items_returned, 0)::BIGINT AS items_returned,
       coalesce(c.cancelled_orders, 0) AS cancelled_orders, coalesce(v.negative_reviews, 0)::BIGINT AS negative_reviews,
       f.favorite_category, f.favorite_brand,
       coalesce(i.categories_bought, 0) AS categories_bought, coalesce(i.products_bought, 0) AS products_bought, v.last_seen_date,
       coalesce(v.email_opens_90d, 0)::BIGINT AS email_opens_90d, coalesce(v.email_clicks_90d, 0)::BIGINT AS email_clicks_90d,
       coalesce(v.page_views_30d, 0)::BIGINT AS page_views_30d, coalesce(v.product_views_30d, 0)::BIGINT AS product_views_30d,
       CASE WHEN c.last_open_at IS NULL OR c.last_open_at < k.cart_at THEN k.cart_at END AS abandoned_cart_date,
       CASE WHEN c.last_open_at IS NULL OR c.last_open_at < v.checkout_at THEN v.checkout_at END AS abandoned_checkout_date,
       r.amount_spent_percentile, r.rfm_recency, r.rfm_frequency, r.rfm_monetary,
       CASE WHEN r.customer_id IS NULL THEN 'prospects'
            WHEN r.rfm_recency = 5 THEN CASE WHEN r.fm >= 4 THEN 'champions' WHEN r.fm = 3 THEN 'active' ELSE 'new' END
            WHEN r.rfm_recency = 4 THEN CASE WHEN r.fm >= 4 THEN 'loyal' WHEN r.fm = 3 THEN 'active' ELSE 'promising' END
            WHEN r.rfm_recency = 3 THEN CASE WHEN r.fm = 5 THEN 'loyal' WHEN r.fm >= 3 THEN 'needs_attention' ELSE 'promising' END
            WHEN r.rfm_recency = 2 THEN CASE WHEN r.fm = 5 THEN 'previously_loyal' WHEN r.fm >= 3 THEN 'at_risk' ELSE 'almost_lost' END
            ELSE CASE WHEN r.fm = 5 THEN 'previously_loyal' WHEN r.fm = 4 THEN 'at_risk' WHEN r.fm = 3 THEN 'almost_lost' ELSE 'dormant' END END AS rfm_group
FROM people c
LEFT JOIN item_stats i ON i.customer_id = c.customer_id
LEFT JOIN favorites f ON f.customer_id = c.customer_id
LEFT JOIN event_stats v ON v.customer_id = c.customer_id
LEFT JOIN carts k ON k.customer_id = c.customer_id
LEFT JOIN ranks r ON r.customer_id = c.customer_id
LEFT JOIN resubscribed s ON s.customer_id = c.customer_id
ORDER BY c.customer_id;
