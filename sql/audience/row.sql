-- One row of an audience, as the formats' mappings see it: contact columns are null where their channel may not be used. The
-- markers are what may be used: a flag of the row, or `true`.
-- Inputs: written (the rows of `chosen` that are written), door_records, door_others. Grain: one row a written member.
SELECT w.customer_id, w.segment,
       coalesce(d.name, nullif(concat_ws(' ', d.first_name, d.last_name), '')) AS name, d.first_name, d.last_name,
       CASE WHEN /*email*/ THEN coalesce(d.email, o.email) END AS email,
       CASE WHEN /*phone*/ THEN coalesce(d.phone_key, o.phone_key) END AS phone,
       CASE WHEN /*post*/ THEN d.address END AS address, CASE WHEN /*post*/ THEN d.postal_code END AS postal_code,
       d.city, d.region, d.country, d.language, d.gender, d.birthday,
       CASE WHEN w.email_ok THEN 'subscribed' ELSE d.email_status END AS email_consent,
       coalesce(w.email_consent_at, d.email_consent_at) AS email_consent_at,
       coalesce(w.email_consent_source, d.email_consent_source) AS email_consent_source, d.email_opt_in, d.email_subscribed_at,
       CASE WHEN w.sms_ok THEN 'subscribed' ELSE d.sms_status END AS sms_consent,
       coalesce(w.sms_consent_at, d.sms_consent_at) AS sms_consent_at, d.ads_consent
FROM door_others o
RIGHT JOIN (written w LEFT JOIN door_records d ON d.customer_id = w.record_id) ON o.customer_id = w.record_id
