-- Orders of WooCommerce's extension Customer/Order/Coupon Export, CSV, one row an item, whose columns
-- https://woocommerce.com/document/ordercustomer-csv-export/ lists. The order's fields stand on every row. Guests have the
-- customer id 0.
-- Beside: orders
-- Requires: order_id, date, order_total
-- Reads: status, customer_id, customer_user, billing_email, billing_phone, order_currency, tax_total, shipping_total, discount_total,
--   refunded_total, coupons, coupon_items, created_via
-- Ignores: order_number*, shipping_*, fee_*, tax_*, payment_*, billing_*, customer_note, item_*, line_items, refunds, order_*,
--   download_permissions, subtotal, coupon*
SELECT order_id, any_time("date") AS ordered_at, money(order_total) AS total,
       nullif(coalesce(customer_id, customer_user), '0') AS customer_id, billing_email AS email, billing_phone AS phone,
       CASE WHEN starts_with(lower(status), 'wc-') THEN substr(status, 4) ELSE status END AS status,
       order_currency AS currency, money(discount_total) AS discount, money(shipping_total) AS shipping, money(tax_total) AS tax,
       money(refunded_total) AS refunded,
       CASE WHEN coupons IS NOT NULL THEN coupons
            ELSE nullif(array_to_string(regexp_match(coupon_items, 'code:([^|;]+)'), ','), '') END AS coupon_codes,
       created_via AS channel
FROM (SELECT *, row_number() OVER (PARTITION BY order_id ORDER BY _file DESC, _row) AS place FROM raw)
WHERE place = 1
ORDER BY order_id
