-- Item columns of the profile.
-- Inputs: order_items. Grain: one row a customer with a counted line. Different things are counted as groups of groups,
-- which spill; the sets that count(DISTINCT …) would keep for every customer do not.
WITH lines AS (
  SELECT customer_id, category, product_id, quantity, returned_quantity FROM order_items WHERE is_counted
),
totals AS (
  SELECT customer_id, CAST(sum(quantity) AS BIGINT) AS items_bought, CAST(sum(returned_quantity) AS BIGINT) AS items_returned
  FROM lines GROUP BY customer_id
),
categories AS (
  SELECT customer_id, count(*) AS categories_bought
  FROM (SELECT customer_id, category FROM lines WHERE category IS NOT NULL GROUP BY customer_id, category)
  GROUP BY customer_id
),
products AS (
  SELECT customer_id, count(*) AS products_bought
  FROM (SELECT customer_id, product_id FROM lines WHERE product_id IS NOT NULL GROUP BY customer_id, product_id)
  GROUP BY customer_id
)
SELECT t.customer_id, t.items_bought, t.items_returned,
       coalesce(c.categories_bought, 0) AS categories_bought, coalesce(p.products_bought, 0) AS products_bought
FROM products p
RIGHT JOIN (categories c RIGHT JOIN totals t ON c.customer_id = t.customer_id) ON p.customer_id = t.customer_id
