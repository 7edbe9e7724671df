-- The members of an audience with what the newest landed data says of each: `is_gone` where it says nothing any more; what of a
-- member may be used by channel, suppressions left out of account.
-- Inputs: the marker's rows (placed_records.sql, placed_twins.sql or placed_rest.sql), email_ended, phone_ended, ads_denied.
-- Grain: one row a member. Joins name the narrow side first.
SELECT p.place, member_id(p.place) AS customer_id, member_segment(p.place) AS segment, p.is_gone, p.person,
       p.email_key, p.phone_key, p.address IS NOT NULL AS has_post,
       p.email_key IS NOT NULL
         AND coalesce((p.email_status = 'subscribed' AND e.address IS NULL)
                      OR (p.email_status IN ('subscribed', 'unsubscribed') AND e.is_consented_again), false) AS email_may,
       p.phone_key IS NOT NULL
         AND coalesce((p.sms_status = 'subscribed' AND t.address IS NULL)
                      OR (p.sms_status IN ('subscribed', 'unsubscribed') AND t.is_consented_again), false) AS sms_may,
       coalesce(p.ads_consent = 'granted', false) AS ads_granted, p.ads_consent IS NULL AS ads_unknown,
       n.address IS NOT NULL OR o.address IS NOT NULL AS ads_denied,
       coalesce(CASE WHEN p.email_status = 'subscribed' THEN p.email_consent_at ELSE e.consented_at END, p.email_consent_at)
         AS email_consent_at,
       p.email_consent_source,
       coalesce(CASE WHEN p.sms_status = 'subscribed' THEN p.sms_consent_at ELSE t.consented_at END, p.sms_consent_at)
         AS sms_consent_at,
       p.email_status, p.sms_status, p.ads_consent, p.email_opt_in, p.email_subscribed_at, p.name, p.first_name, p.last_name,
       p.email, p.phone, p.address, p.postal_code, p.city, p.region, p.country, p.language, p.gender, p.birthday
FROM ads_denied o
RIGHT JOIN (
  ads_denied n
  RIGHT JOIN (
    phone_ended t
    RIGHT JOIN (email_ended e RIGHT JOIN (/*placed*/) p ON e.address = p.email_key) ON t.address = p.phone_key
  ) ON n.address = p.email_key
) ON o.address = p.phone_key
