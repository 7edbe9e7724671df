-- Item columns of the profile: sums, different things, and the category and brand of which a customer bought most (ties by
-- the most recent order, then by name).
-- Inputs: order_items. Grain: one row a customer with a line; `lines` counts those of orders that do not count, too.
SELECT customer_no, lines, items_bought, items_returned,
       categories['favorite'] AS favorite_category, categories['different'] AS categories_bought,
       brands['favorite'] AS favorite_brand, products['different'] AS products_bought
FROM (
  SELECT customer_no, count(*) AS lines,
         CAST(sum(quantity) FILTER (WHERE is_counted) AS BIGINT) AS items_bought,
         CAST(sum(returned_quantity) FILTER (WHERE is_counted) AS BIGINT) AS items_returned,
         favorite(category, quantity, ordered_at) FILTER (WHERE is_counted) AS categories,
         favorite(brand, quantity, ordered_at) FILTER (WHERE is_counted) AS brands,
         favorite(product_id, quantity, ordered_at) FILTER (WHERE is_counted) AS products
  FROM order_items
  GROUP BY customer_no
)
