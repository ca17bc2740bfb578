#!/bin/bash
# Once for a bucket: makes it, and lets the two service accounts of kuberay.yaml write to it. No key is made, and none can
# leak.
#
#   BUCKET=my-sweeps CLUSTER=my-eks cluster/kuberay-bucket.sh eks       # with the add-on eks-pod-identity-agent
#   BUCKET=my-sweeps PROJECT=my-project cluster/kuberay-bucket.sh gke   # with Workload Identity Federation

set -euo pipefail
: "${BUCKET:?names the bucket, which is made}"

eks() {
  : "${CLUSTER:?names the cluster}"
  ACCOUNT=$(aws sts get-caller-identity --query Account --output text)
  aws s3 mb "s3://$BUCKET"
  aws iam create-role --role-name tlsweep-pods --assume-role-policy-document '{"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"Service": "pods.eks.amazonaws.com"}, "Action": ["sts:AssumeRole", "sts:TagSession"]}]}'
  aws iam put-role-policy --role-name tlsweep-pods --policy-name results --policy-document '{"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": "arn:aws:s3:::'"$BUCKET"'"},
    {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
     "Resource": "arn:aws:s3:::'"$BUCKET"'/*"}]}'
  for NAME in tlsweep-head tlsweep-worker; do
    aws eks create-pod-identity-association --cluster-name "$CLUSTER" --namespace tlsweep --service-account "$NAME" \
      --role-arn "arn:aws:iam::$ACCOUNT:role/tlsweep-pods"
  done
}

gke() {
  : "${PROJECT:?names the project}"
  NUMBER=$(gcloud projects describe "$PROJECT" --format 'value(projectNumber)')
  gcloud storage buckets create "gs://$BUCKET" --location us-central1 --uniform-bucket-level-access
  for NAME in tlsweep-head tlsweep-worker; do
    for ROLE in roles/storage.objectUser roles/storage.legacyBucketReader; do
      gcloud storage buckets add-iam-policy-binding "gs://$BUCKET" --role "$ROLE" \
        --member "principal://iam.googleapis.com/projects/$NUMBER/locations/global/workloadIdentityPools/$PROJECT.svc.id.goog/subject/ns/tlsweep/sa/$NAME"
    done
  done
}

case ${1:-} in
  eks) eks ;;
  gke) gke ;;
  *) echo "wanted: kuberay-bucket.sh eks, or kuberay-bucket.sh gke" >&2 && exit 2 ;;
esac
