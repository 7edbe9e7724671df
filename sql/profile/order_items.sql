-- Clean order lines of the day's customers, filled from the products, amounts in the shop's currency
-- (the order's are converted, a product's price is in it).
-- Inputs: landed_order_items, orders, landed_products. Grain: one row a line.
-- As of: a return with a time of its own counts from that time on, else from the order's.
SELECT i.order_id, o.customer_id, o.customer_no, o.ordered_at, o.ordered_on, o.is_counted, i.line, i.product_id,
       i.sku, coalesce(i.title, p.title) AS title, coalesce(i.category, p.category) AS category,
       coalesce(i.collections, p.collections) AS collections, coalesce(i.brand, p.brand) AS brand,
       coalesce(i.labels, p.labels) AS labels,
       coalesce(i.quantity, 1) AS quantity,
       coalesce(CASE WHEN o.rate IS NULL THEN i.unit_price ELSE CAST(i.unit_price * o.rate AS DECIMAL(18, 4)) END,
                p.price) AS unit_price,
       CASE WHEN i.returned_at >= $cutoff THEN 0 ELSE coalesce(i.returned_quantity, 0) END AS returned_quantity,
       i.returned_at /*columns*/
FROM landed_products p
RIGHT JOIN (orders o JOIN landed_order_items i ON o.order_id = i.order_id) ON p.product_id = i.product_id
