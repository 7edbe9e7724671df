-- The category and brand of which a customer bought most; ties by the most recent order, then by name.
-- Inputs: order_items. Grain: one row a customer with a counted line.
SELECT customer_id,
       max(CASE WHEN kind = 'category' THEN name END) AS favorite_category,
       max(CASE WHEN kind = 'brand' THEN name END) AS favorite_brand
FROM (
  SELECT customer_id, kind, name,
         row_number() OVER (PARTITION BY customer_id, kind ORDER BY bought DESC, last_at DESC, name) AS place
  FROM (
    SELECT customer_id, 'category' AS kind, category AS name, sum(quantity) AS bought, max(ordered_at) AS last_at
    FROM order_items WHERE is_counted AND category IS NOT NULL GROUP BY customer_id, category
    UNION ALL
    SELECT customer_id, 'brand', brand, sum(quantity), max(ordered_at)
    FROM order_items WHERE is_counted AND brand IS NOT NULL GROUP BY customer_id, brand
  )
)
WHERE place = 1
GROUP BY customer_id
