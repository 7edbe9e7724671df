-- The members of whom no record is landed: gone, where no order of theirs is either.
-- Inputs: rest (place, customer_id), door_others, no_record (the columns of door_records, without a row). Grain: one row a member.
SELECT m.place, o.customer_id IS NULL AS is_gone, m.customer_id AS person, o.email_key, o.phone_key, o.email, o.phone,
       n.name, n.first_name, n.last_name, n.address, n.postal_code, n.city, n.region, n.country, n.language, n.gender, n.birthday,
       n.email_status, n.sms_status, n.email_consent_at, n.email_consent_source, n.email_opt_in, n.email_subscribed_at,
       n.sms_consent_at, n.ads_consent
FROM no_record n
RIGHT JOIN (door_others o RIGHT JOIN rest m ON o.customer_id = m.customer_id) ON n.customer_id = m.customer_id
