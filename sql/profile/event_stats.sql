-- Event columns of the profile, from the daily facts.
-- Inputs: event_facts, cart_facts. Grain: one row a customer with an event. Windows are local days that end with $as_of.
WITH kept AS (
  SELECT customer_no, max(added_at) AS cart_at FROM cart_facts
  WHERE removed_at IS NULL OR removed_at <= added_at GROUP BY customer_no
),
sums AS (
  SELECT customer_no,
         CAST(coalesce(sum(email_opens) FILTER (WHERE fact_on > CAST($as_of AS DATE) - INTERVAL '90 days'), 0) AS BIGINT) AS email_opens_90d,
         CAST(coalesce(sum(email_clicks) FILTER (WHERE fact_on > CAST($as_of AS DATE) - INTERVAL '90 days'), 0) AS BIGINT) AS email_clicks_90d,
         CAST(coalesce(sum(page_views) FILTER (WHERE fact_on > CAST($as_of AS DATE) - INTERVAL '30 days'), 0) AS BIGINT) AS page_views_30d,
         CAST(coalesce(sum(product_views) FILTER (WHERE fact_on > CAST($as_of AS DATE) - INTERVAL '30 days'), 0) AS BIGINT) AS product_views_30d,
         CAST(sum(negative_reviews) AS BIGINT) AS negative_reviews,
         max(seen_at) AS last_seen_date, max(checkout_at) AS checkout_at, max(unsubscribed_at) AS unsubscribed_at,
         max(bounced_at) AS bounced_at, max(subscription_started_at) AS subscription_started_at,
         max(subscription_cancelled_at) AS subscription_cancelled_at
  FROM event_facts GROUP BY customer_no
)
SELECT s.*, k.cart_at FROM kept k RIGHT JOIN sums s ON k.customer_no = s.customer_no
