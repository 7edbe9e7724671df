-- The customer profile, without the columns of the lifecycle model.
-- Inputs: customers, order_stats, item_stats, event_stats, ranks, resubscribed. Grain: one row a customer,
-- sorted by customer_id. Joins name the narrow side first: it is the one that is held in memory, and the customers pass by
-- in their order. As of: $as_of, cutoff $cutoff.
SELECT * EXCEPT (email_subscribed_at, email_consent_at),
       email_subscription_status = 'subscribed' AND has_email AS email_reachable,
       sms_subscription_status = 'subscribed' AND has_phone AS sms_reachable,
       coalesce(email_subscribed_at, CASE WHEN email_subscription_status = 'subscribed' THEN email_consent_at END) AS email_subscribed_date
FROM (
SELECT c.customer_no, c.customer_id, c.created_at, c.store, c.gender, c.birthday, c.language, c.country, c.region, c.city,
       c.registration_source, c.membership, c.tags, c.lists,
       CASE WHEN c.email_valid IS FALSE
                 OR (v.bounced_at IS NOT NULL
                     AND NOT coalesce(c.email_consent IN ('subscribed', 'pending') AND c.email_consent_at > v.bounced_at, false)
                     AND NOT coalesce(c.email_consent = 'subscribed' AND b.resubscribed_at > v.bounced_at, false)) THEN 'invalid'
            WHEN c.email_consent IN ('subscribed', 'pending') AND v.unsubscribed_at IS NOT NULL
                 AND NOT coalesce(c.email_consent_at > v.unsubscribed_at, false)
                 AND NOT coalesce(b.resubscribed_at > v.unsubscribed_at, false) THEN 'unsubscribed'
            WHEN c.email_consent IS NULL OR c.email_consent = 'never' THEN 'not_subscribed'
            ELSE c.email_consent END AS email_subscription_status,
       CASE WHEN c.phone_valid IS FALSE THEN 'invalid'
            WHEN c.sms_consent IS NULL OR c.sms_consent = 'never' THEN 'not_subscribed'
            ELSE c.sms_consent END AS sms_subscription_status,
       c.email IS NOT NULL AS has_email, c.phone IS NOT NULL AS has_phone,
       c.email_subscribed_at, c.email_consent_at,
       CASE WHEN strpos(c.email, '@') > 0 THEN lower(nullif(split_part(c.email, '@', -1), '')) END AS customer_email_domain,
       coalesce(o.number_of_orders, 0) AS number_of_orders,
       coalesce(o.amount_spent, CAST(0 AS DECIMAL(28, 2))) AS amount_spent,
       CASE WHEN o.number_of_orders > 0 THEN CAST(CAST(o.amount_spent AS DECIMAL(32, 6)) / CAST(o.number_of_orders AS DECIMAL(20, 0)) AS DECIMAL(18, 4)) END AS average_order_amount,
       o.highest_order_amount, o.first_order_date, o.last_order_date,
       CAST(CAST($as_of AS DATE) - o.last_ordered_on AS BIGINT) AS days_since_last_order,
       CASE WHEN o.number_of_orders > 1
            THEN CAST(CAST(o.last_order_date AS BIGINT) - CAST(o.first_order_date AS BIGINT) AS DOUBLE) / 86400000000.0 / CAST(o.number_of_orders - 1 AS DOUBLE) END AS average_days_between_orders,
       coalesce(o.discount_amount, CAST(0 AS DECIMAL(28, 2))) AS discount_amount,
       coalesce(o.refunded_amount, CAST(0 AS DECIMAL(28, 2))) AS refunded_amount,
       coalesce(o.coupons_used, 0) AS coupons_used,
       coalesce(i.items_bought, 0) AS items_bought, coalesce(i.items_returned, 0) AS items_returned,
       coalesce(o.cancelled_orders, 0) AS cancelled_orders,
       coalesce(v.negative_reviews, 0) AS negative_reviews,
       i.favorite_category, i.favorite_brand,
       coalesce(i.categories_bought, 0) AS categories_bought, coalesce(i.products_bought, 0) AS products_bought,
       v.last_seen_date,
       coalesce(v.email_opens_90d, 0) AS email_opens_90d, coalesce(v.email_clicks_90d, 0) AS email_clicks_90d,
       coalesce(v.page_views_30d, 0) AS page_views_30d, coalesce(v.product_views_30d, 0) AS product_views_30d,
       CASE WHEN c.last_open_order_at IS NULL OR c.last_open_order_at < v.cart_at THEN v.cart_at END AS abandoned_cart_date,
       CASE WHEN c.last_open_order_at IS NULL OR c.last_open_order_at < v.checkout_at THEN v.checkout_at END AS abandoned_checkout_date,
       r.amount_spent_percentile, r.rfm_recency, r.rfm_frequency, r.rfm_monetary,
       CASE WHEN r.customer_no IS NULL THEN 'prospects'
            WHEN r.rfm_recency = 5 THEN CASE WHEN r.fm >= 4 THEN 'champions' WHEN r.fm = 3 THEN 'active' ELSE 'new' END
            WHEN r.rfm_recency = 4 THEN CASE WHEN r.fm >= 4 THEN 'loyal' WHEN r.fm = 3 THEN 'active' ELSE 'promising' END
            WHEN r.rfm_recency = 3 THEN CASE WHEN r.fm = 5 THEN 'loyal' WHEN r.fm >= 3 THEN 'needs_attention' ELSE 'promising' END
            WHEN r.rfm_recency = 2 THEN CASE WHEN r.fm = 5 THEN 'previously_loyal' WHEN r.fm >= 3 THEN 'at_risk' ELSE 'almost_lost' END
            ELSE CASE WHEN r.fm = 5 THEN 'previously_loyal' WHEN r.fm = 4 THEN 'at_risk' WHEN r.fm = 3 THEN 'almost_lost' ELSE 'dormant' END END AS rfm_group
       /*properties*/
FROM resubscribed b
RIGHT JOIN (
  (SELECT *, (rfm_frequency + rfm_monetary + 1) / 2 AS fm FROM ranks) r
  RIGHT JOIN (
    event_stats v
    RIGHT JOIN (
      item_stats i
      RIGHT JOIN (order_stats o RIGHT JOIN customers c ON o.customer_no = c.customer_no) ON i.customer_no = c.customer_no
    ) ON v.customer_no = c.customer_no
  ) ON r.customer_no = c.customer_no
) ON b.customer_id = c.customer_id
)
