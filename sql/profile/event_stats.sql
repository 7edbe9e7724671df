-- Event columns of the profile, from the daily facts (the kinds are those of event_facts.sql).
-- Inputs: event_facts. Grain: one row a customer with an event. Windows are local days that end with $as_of.
WITH carts AS (
  SELECT customer_no, cart_product,
         max(CASE WHEN kind = 6 THEN last_at END) AS added_at, max(CASE WHEN kind = 7 THEN last_at END) AS removed_at
  FROM event_facts WHERE kind IN (6, 7) GROUP BY customer_no, cart_product
),
kept AS (
  SELECT customer_no, max(added_at) AS cart_at FROM carts
  WHERE removed_at IS NULL OR removed_at <= added_at GROUP BY customer_no
),
sums AS (
  SELECT customer_no,
         CAST(coalesce(sum(CASE WHEN kind = 3 AND fact_on > CAST($as_of AS DATE) - INTERVAL '90 days' THEN n END), 0) AS BIGINT) AS email_opens_90d,
         CAST(coalesce(sum(CASE WHEN kind = 4 AND fact_on > CAST($as_of AS DATE) - INTERVAL '90 days' THEN n END), 0) AS BIGINT) AS email_clicks_90d,
         CAST(coalesce(sum(CASE WHEN kind = 1 AND fact_on > CAST($as_of AS DATE) - INTERVAL '30 days' THEN n END), 0) AS BIGINT) AS page_views_30d,
         CAST(coalesce(sum(CASE WHEN kind = 2 AND fact_on > CAST($as_of AS DATE) - INTERVAL '30 days' THEN n END), 0) AS BIGINT) AS product_views_30d,
         CAST(coalesce(sum(CASE WHEN kind = 11 THEN n END), 0) AS BIGINT) AS negative_reviews,
         max(CASE WHEN kind IN (1, 2, 5, 6, 8) THEN last_at END) AS last_seen_date,
         max(CASE WHEN kind = 8 THEN last_at END) AS checkout_at,
         max(CASE WHEN kind = 9 THEN last_at END) AS unsubscribed_at,
         max(CASE WHEN kind = 10 THEN last_at END) AS bounced_at,
         max(CASE WHEN kind = 12 THEN last_at END) AS subscription_started_at,
         max(CASE WHEN kind = 13 THEN last_at END) AS subscription_cancelled_at
  FROM event_facts WHERE customer_no >= 0 GROUP BY customer_no
)
SELECT s.*, k.cart_at FROM kept k RIGHT JOIN sums s ON k.customer_no = s.customer_no
