#!/bin/bash
# Once for a project: a bucket; who head and workers are; a network of their own, as the default one lets everybody in by
# ssh.
#
#   PROJECT=my-project REGION=us-central1 BUCKET=my-sweeps cluster/gcp-setup.sh

set -euo pipefail
: "${PROJECT:?names the project}" "${REGION:?names the region}" "${BUCKET:?names the bucket, which is made}"
gcloud storage buckets create "gs://$BUCKET" --location "$REGION" --uniform-bucket-level-access

for NAME in tlsweep-head tlsweep-worker; do
  gcloud iam service-accounts create "$NAME"
  for ROLE in roles/storage.objectUser roles/storage.legacyBucketReader; do
    gcloud storage buckets add-iam-policy-binding "gs://$BUCKET" --role "$ROLE" \
      --member "serviceAccount:$NAME@$PROJECT.iam.gserviceaccount.com"
  done
done
gcloud projects add-iam-policy-binding "$PROJECT" --role roles/compute.instanceAdmin.v1 \
  --member "serviceAccount:tlsweep-head@$PROJECT.iam.gserviceaccount.com" --condition None
gcloud iam service-accounts add-iam-policy-binding "tlsweep-worker@$PROJECT.iam.gserviceaccount.com" \
  --role roles/iam.serviceAccountUser --member "serviceAccount:tlsweep-head@$PROJECT.iam.gserviceaccount.com"

gcloud compute networks create tlsweep --subnet-mode custom
gcloud compute networks subnets create tlsweep --network tlsweep --region "$REGION" --range 10.10.0.0/20 \
  --enable-private-ip-google-access
gcloud compute firewall-rules create tlsweep-inside --network tlsweep --allow all --source-ranges 10.10.0.0/20
gcloud compute firewall-rules create tlsweep-ssh --network tlsweep --allow tcp:22 \
  --source-ranges "$(curl -s https://checkip.amazonaws.com)/32"   # your address; 'update' it when it changes
