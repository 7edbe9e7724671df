-- The tables that DuckDB answers segments from, as one would load them by hand: what `segments.py` adds to profile.sql and
-- puts in the place of its statements of the same name. Lists of columns go to where profile.sql has their name in a comment.

-- order_versions: , store, channel
-- orders: , o.total_here AS amount, o.rate, o.store, o.channel, o.coupon_codes
-- products: , title, collections, labels, price
-- line_versions: , sku, title, collections, labels, unit_price
-- items: , i.order_id, i.line, i.sku, coalesce(i.title, p.title) AS title, coalesce(i.collections, p.collections) AS collections, coalesce(i.labels, p.labels) AS labels, (coalesce(round(i.unit_price * o.rate, 4)::DECIMAL(18, 4), p.price) * i.quantity)::DECIMAL(28, 4) AS amount
-- landed_events: , category, search_term, campaign_id, channel, coupon_code, value, source

-- Events of the people that are known, whoever they were when they came, with what their products are.
CREATE TABLE events AS
SELECT coalesce(r.root, e.customer_id) AS customer_id, NULL::VARCHAR AS anonymous_id, e.occurred_at, e.type, e.product_id,
       coalesce(e.category, p.category) AS category, p.labels, e.search_term, e.campaign_id, e.channel, e.coupon_code, e.source,
       e.value, e.rating, e.machine, e.bounce
FROM (
  SELECT * FROM landed_events WHERE event_id NOT IN (FROM repeated)
  UNION ALL
  SELECT * FROM settled
) e
LEFT JOIN roots r ON r.id = coalesce(e.customer_id, e.anonymous_id)
LEFT JOIN products p ON p.product_id = e.product_id
WHERE coalesce(r.root, e.customer_id) IS NOT NULL;
