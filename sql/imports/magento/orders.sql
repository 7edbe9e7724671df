-- Orders of Magento 2 (Adobe Commerce): the table sales_order as CSV, such as by `SELECT * FROM sales_order`. Its columns:
-- https://developer.adobe.com/commerce/webapi/rest/quick-reference/ (sales order). Times are UTC. The grid's own export has no
-- lines and no ids, and cannot be used.
-- Requires: increment_id, entity_id, created_at, grand_total
-- Reads: status, state, customer_id, customer_email, order_currency_code, updated_at, subtotal, discount_amount, shipping_amount,
--   tax_amount, total_refunded, coupon_code, store_name
-- Ignores: *
SELECT entity_id AS order_id, created_at || 'Z' AS ordered_at, updated_at || 'Z' AS updated_at, money(grand_total) AS total,
       customer_id, customer_email AS email,
       CASE WHEN lower(status) IN ('canceled', 'fraud') THEN 'cancelled'
            WHEN lower(status) = 'closed' THEN 'refunded'
            WHEN lower(status) IN ('pending', 'pending_payment', 'payment_review', 'pending_paypal', 'holded') THEN 'pending'
            WHEN TRY_CAST(money(total_refunded) AS DOUBLE) > 0 THEN 'partially_refunded'
            WHEN lower(status) IN ('complete', 'processing') THEN 'paid' ELSE status END AS status,
       order_currency_code AS currency, money(subtotal) AS subtotal, ltrim(money(discount_amount), '-') AS discount,
       money(shipping_amount) AS shipping, money(tax_amount) AS tax, money(total_refunded) AS refunded,
       coupon_code AS coupon_codes, split_part(store_name, chr(10), 1) AS store
FROM raw
ORDER BY order_id, _file, _row
