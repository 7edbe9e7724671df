-- Customers of Magento 2 (Adobe Commerce): the table customer_entity as CSV. Its columns:
-- https://developer.adobe.com/commerce/webapi/rest/quick-reference/ (customer). Times are UTC. `subscriber_status` of
-- newsletter_subscriber may be joined to it: 1 subscribed, 2 not active, 3 unsubscribed, 4 unconfirmed.
-- Requires: entity_id, email, created_at
-- Reads: updated_at, firstname, lastname, dob, gender, created_in, subscriber_status, change_status_at, telephone, street, city,
--   region, postcode, country_id
-- Ignores: website_id, increment_id, group_id, store_id, is_active, disable_auto_group_change, prefix, middlename, suffix,
--   password_hash, rp_token*, default_*, taxvat, confirmation, failures_num, first_failure, lock_expires, session_cutoff
SELECT entity_id AS customer_id, created_at || 'Z' AS created_at, updated_at || 'Z' AS updated_at, email,
       firstname AS first_name, lastname AS last_name, telephone AS phone, replace(street, chr(10), ', ') AS address, city, region,
       postcode AS postal_code, country_id AS country, substr(dob, 1, 10) AS birthday,
       CASE gender WHEN '1' THEN 'male' WHEN '2' THEN 'female' END AS gender, created_in AS store,
       CASE subscriber_status WHEN '1' THEN 'subscribed' WHEN '2' THEN 'never' WHEN '3' THEN 'unsubscribed'
                              WHEN '4' THEN 'pending' END AS email_consent,
       change_status_at || 'Z' AS email_consent_at /*properties*/
FROM raw
ORDER BY customer_id, _file, _row
