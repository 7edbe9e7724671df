-- What the newest landed data says of every customer: whom the record is of, effective consent as the profile has it, and
-- contact data. Consent is compared by `email_key` and `phone_key`.
-- Inputs: landed_customers, roots, heirs, ended, resubscribed. Grain: one row a landed customer; `is_main` marks the one whose contact
-- data are the person's. Joins name the narrow side first.
SELECT *, email_key(email) AS email_key,
       CASE WHEN $all_phones OR sms_status IN ('subscribed', 'unsubscribed', 'invalid') THEN e164(phone, country) END AS phone_key
FROM (
  SELECT c.customer_id, coalesce(r.root, c.customer_id) AS person, h.id IS NOT NULL OR r.root IS NULL AS is_main,
         c.deleted_at IS NOT NULL AND c.deleted_at <= $now AS is_deleted,
         CASE WHEN c.email_valid IS FALSE
                   OR (v.bounced_at IS NOT NULL
                       AND NOT coalesce(c.email_consent IN ('subscribed', 'pending') AND c.email_consent_at > v.bounced_at, false)
                       AND NOT coalesce(c.email_consent = 'subscribed' AND b.resubscribed_at > v.bounced_at, false)) THEN 'invalid'
              WHEN c.email_consent IN ('subscribed', 'pending') AND v.unsubscribed_at IS NOT NULL
                   AND NOT coalesce(c.email_consent_at > v.unsubscribed_at, false)
                   AND NOT coalesce(b.resubscribed_at > v.unsubscribed_at, false) THEN 'unsubscribed'
              WHEN c.email_consent IS NULL OR c.email_consent = 'never' THEN 'not_subscribed'
              ELSE c.email_consent END AS email_status,
         CASE WHEN c.phone_valid IS FALSE THEN 'invalid'
              WHEN c.sms_consent IS NULL OR c.sms_consent = 'never' THEN 'not_subscribed'
              ELSE c.sms_consent END AS sms_status,
         CASE WHEN c.email_consent = 'unsubscribed' THEN greatest(c.email_consent_at, v.unsubscribed_at)
              ELSE v.unsubscribed_at END AS email_ended_at,
         c.email_consent_at, c.email_consent_source, c.email_opt_in, c.email_subscribed_at, c.sms_consent_at, c.ads_consent,
         c.name, c.first_name, c.last_name, c.email, c.phone, c.address, c.postal_code, c.city, c.region, c.country,
         c.language, c.gender, c.birthday
  FROM heirs h
  RIGHT JOIN (
    resubscribed b
    RIGHT JOIN (
      ended v
      RIGHT JOIN (roots r RIGHT JOIN landed_customers c ON r.id = c.customer_id)
        ON v.person = coalesce(r.root, c.customer_id)
    ) ON b.customer_id = c.customer_id
  ) ON h.id = c.customer_id
)
