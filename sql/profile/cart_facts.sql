-- When a customer last put a product into the cart and last took it out: facts of other days merge by the latest time.
-- Inputs: events_numbered. Grain: customer_no, product ('' where the event names none).
SELECT customer_no, coalesce(_cart_product, '') AS _cart_product,
       max(occurred_at) FILTER (WHERE _kind = 6) AS added_at, max(occurred_at) FILTER (WHERE _kind = 7) AS removed_at
FROM events_numbered
WHERE _kind IN (6, 7)
GROUP BY customer_no, coalesce(_cart_product, '')
