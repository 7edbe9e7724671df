-- Customers of WooCommerce's extension Customer/Order/Coupon Export, CSV:
-- https://woocommerce.com/document/ordercustomer-csv-export/. Guests, whose id is 0, are no customers.
-- Requires: customer_id, email
-- Reads: first_name, last_name, date_registered, billing_phone, billing_address_1, billing_address_2, billing_city,
--   billing_state, billing_country, billing_postcode
-- Ignores: user_login, username, user_pass, role, billing_*, shipping_*, total_spent, order_count, website
-- Leaves out: guests: customer_id = '0' OR customer_id IS NULL
SELECT customer_id, any_time(date_registered) AS created_at, email, first_name, last_name, billing_phone AS phone,
       nullif(concat_ws(', ', billing_address_1, billing_address_2), '') AS address, billing_city AS city,
       billing_state AS region, billing_country AS country, billing_postcode AS postal_code /*properties*/
FROM raw
WHERE customer_id <> '0'
ORDER BY customer_id, _file, _row
