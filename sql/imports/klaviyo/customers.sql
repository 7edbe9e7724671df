-- Profiles of Klaviyo: the CSV export of a list or segment (Manage, Export to CSV), whose columns
-- https://help.klaviyo.com/hc/en-us/articles/115005250588 names. The shop's own customer id (External ID) is the customer, else
-- Klaviyo's. Consent comes with its time; suppressed addresses are not valid.
-- Requires: Email, Klaviyo ID
-- Reads: External ID, First Name, Last Name, Phone Number, Address, Address 2, City, State / Region, Country, Zip Code, Source,
--   Email Marketing Consent, Email Marketing Consent Timestamp, SMS Marketing Consent, SMS Marketing Consent Timestamp,
--   Email Suppressions, Profile Created On, Date Added, Locale
-- Ignores: Organization, Title, Initial*, Last Open, Last Click, Last Active, Latitude, Longitude, IP Address, Timezone, Email Marketing*,
--   SMS*, Mobile Push*, Total Customer Lifetime Value, Predicted*, Historic*, Churn*, Average*, Expected*, Consent*, Whatsapp*
SELECT coalesce("External ID", "Klaviyo ID") AS customer_id, any_time("Profile Created On") AS created_at, "Email" AS email,
       ltrim("Phone Number", '''') AS phone, "First Name" AS first_name, "Last Name" AS last_name,
       nullif(concat_ws(', ', "Address", "Address 2"), '') AS address, "City" AS city, "State / Region" AS region, "Country" AS country,
       "Zip Code" AS postal_code, "Source" AS registration_source,
       CASE replace(lower("Email Marketing Consent"), '_', ' ')
            WHEN 'subscribed' THEN 'subscribed' WHEN 'subscribe' THEN 'subscribed' WHEN 'unsubscribed' THEN 'unsubscribed'
            WHEN 'never subscribed' THEN 'never' WHEN 'pending' THEN 'pending' END AS email_consent,
       any_time("Email Marketing Consent Timestamp") AS email_consent_at,
       CASE replace(lower("SMS Marketing Consent"), '_', ' ')
            WHEN 'subscribed' THEN 'subscribed' WHEN 'subscribe' THEN 'subscribed' WHEN 'unsubscribed' THEN 'unsubscribed'
            WHEN 'never subscribed' THEN 'never' WHEN 'pending' THEN 'pending' END AS sms_consent,
       any_time("SMS Marketing Consent Timestamp") AS sms_consent_at,
       CASE WHEN "Email Suppressions" IS NOT NULL AND "Email Suppressions" <> '[]' THEN 'false' END AS email_valid /*properties*/
FROM raw
ORDER BY customer_id, _file, _row
