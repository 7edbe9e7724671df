-- Order lines of Magento 2 (Adobe Commerce): the table sales_order_item as CSV. Its columns:
-- https://developer.adobe.com/commerce/webapi/rest/quick-reference/ (sales order item). Times are UTC. A configurable product has
-- a line for itself and one for the variant: the lines with a parent are left out.
-- Requires: order_id, item_id, qty_ordered
-- Reads: parent_item_id, product_id, sku, name, price, qty_refunded, qty_canceled, updated_at
-- Ignores: *
-- Leaves out: variants of a line that is there: parent_item_id IS NOT NULL
SELECT order_id, coalesce(product_id, sku, name) AS product_id, item_id AS line, updated_at || 'Z' AS updated_at,
       sku, name AS title, TRY_CAST(TRY_CAST(qty_ordered AS DOUBLE) - coalesce(TRY_CAST(qty_canceled AS DOUBLE), 0) AS BIGINT) AS quantity,
       money(price) AS unit_price, TRY_CAST(TRY_CAST(qty_refunded AS DOUBLE) AS BIGINT) AS returned_quantity
FROM raw
WHERE parent_item_id IS NULL
ORDER BY order_id, TRY_CAST(item_id AS BIGINT), _file, _row
