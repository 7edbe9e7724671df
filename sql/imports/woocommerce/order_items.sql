-- The items of WooCommerce's extension Customer/Order/Coupon Export, CSV, one row an item:
-- https://woocommerce.com/document/ordercustomer-csv-export/.
-- Beside: orders
-- Requires: order_id, item_name, item_quantity
-- Reads: item_product_id, item_sku, item_price, item_total, item_refunded_qty, item_id
-- Ignores: *
SELECT order_id, coalesce(nullif(item_product_id, '0'), item_sku, item_name) AS product_id,
       row_number() OVER (PARTITION BY order_id ORDER BY _row) AS line,
       item_sku AS sku, item_name AS title, item_quantity AS quantity,
       coalesce(money(item_price), CAST(TRY_CAST(money(item_total) AS DECIMAL(18, 4)) / TRY_CAST(nullif(item_quantity, '0') AS DECIMAL(18, 4)) AS VARCHAR)) AS unit_price,
       ltrim(item_refunded_qty, '-') AS returned_quantity
FROM (SELECT *, max(_file) OVER (PARTITION BY order_id) AS newest FROM raw WHERE item_name IS NOT NULL)
WHERE _file = newest
ORDER BY order_id, line
